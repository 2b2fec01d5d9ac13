"""Completion of package, task and source names in the shell.

Importing this module also corrects two of click's shells, whose output is read wrongly by click's own script.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem, FishComplete, ZshComplete, add_completion_class

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@add_completion_class
class ZshWithFiles(ZshComplete):
    """Completes names and files together.

    An item is three lines, and click's script drops empty ones: that of a file that is not typed yet.
    """

    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(CompletionItem(item.value or "_", item.type, item.help))


@add_completion_class
class FishWithHelp(FishComplete):
    """Shows the whole help of an item; click's script cuts it at the first comma."""

    source_template = FishComplete.source_template.replace("split", "split --max 1")


def complete_package(task: str | None = None, *, off: bool = False) -> Complete:
    """Return a completion of the names of shipped packages, or a folder.

    Args:
        task: Complete only packages for this task.
        off: Also complete "off".
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from edgeharfer.runtime.inference.package import shipped_packages

        manifests = [package.manifest for package in shipped_packages()]
        helps = {one.name: "" if task else one.task for one in manifests if task in (None, one.task)}
        return _items(helps | ({"off": "turn it off"} if off else {}), incomplete, files="dir")

    return complete


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of shipped packages, or a file."""
    items = complete_package()(ctx, param, incomplete)
    return [CompletionItem(incomplete, type="file"), *items[1:]]


def complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of tasks that can be added, or a folder."""
    from edgeharfer.runtime.tasks import EXTRA_TASKS, TASKS

    return _items({name: TASKS[name].summary for name in EXTRA_TASKS}, incomplete, files="dir")


def complete_source(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names and schemes of sources, or a file."""
    from edgeharfer.runtime.source import SOURCES

    forms = [form for entry in SOURCES.values() for form in entry.metavar.split("|")]
    starts = [start[0] for form in forms if (start := re.match(r"[a-z]+(:(//)?)?", form))]
    return _items(dict.fromkeys(starts, ""), incomplete, files="file")


def _items(helps: dict[str, str], incomplete: str, *, files: str) -> list[CompletionItem]:
    """Return the names that fit, by name and help, and let the shell complete files or folders.

    Files come first: for them click's script for Bash discards the names before.
    """
    names = [name for name in helps if name.startswith(incomplete)]
    found = [CompletionItem(name, help=helps[name] or None) for name in names]
    return [CompletionItem(incomplete, type=files), *found]

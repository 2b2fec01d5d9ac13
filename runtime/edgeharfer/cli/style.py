"""Colours of the command line: on a terminal only, and never with NO_COLOR (https://no-color.org)."""

from __future__ import annotations

import os

import click

GOOD, BAD, NOTE = "green", "red", "yellow"


def use_color() -> bool | None:
    """Value of click's `color`: False with NO_COLOR, else None, which means on terminals."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def mark(text: str, color: str | None) -> str:
    """A word in bold and in a colour; None makes it faint."""
    return click.style(text, fg=color, bold=True) if color else click.style(text, dim=True)


class HelpFormatter(click.HelpFormatter):
    """Writes headings in bold."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or click.style("Usage:", bold=True) + " ")

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{click.style(f'{heading}:', bold=True)}\n")


class Context(click.Context):
    """A context whose help has bold headings."""

    formatter_class = HelpFormatter

"""Help texts of all commands, read from click."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click

from edgeharfer.cli import COMMANDS, cli

PINNED = Path(__file__).parents[1] / "short_help.json"


def commands(command: click.Command = cli, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands by their path, such as "models list"."""
    if path:
        yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *path, name)


ALL = dict(commands())


def test_short_helps_change_only_on_purpose() -> None:
    """After a change: EDGEHARFER_PIN=1 pytest tests/unit/test_cli_help.py, and read the difference."""
    short = {path: command.get_short_help_str(limit=200) for path, command in ALL.items()}
    if "EDGEHARFER_PIN" in os.environ:
        PINNED.write_text(json.dumps(short, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert short == json.loads(PINNED.read_text(encoding="utf-8"))


def test_the_list_of_commands_has_the_short_helps() -> None:
    """`edgeharfer --help` prints them without importing the commands."""
    assert {name: ALL[name].get_short_help_str(limit=200) for name in COMMANDS} == COMMANDS


def test_options_have_a_help_and_show_their_default() -> None:
    for path, command in ALL.items():
        context = click.Context(command)
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            assert option.help, (path, option.name)
            default = option.get_default(context)
            if not option.is_flag and default and isinstance(default, str | int | float | Path):
                record = option.get_help_record(context)
                assert record and f"[default: {default}" in record[1], (path, option.name)

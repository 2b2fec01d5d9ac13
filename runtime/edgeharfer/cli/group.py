"""A click group with help for a missing command and suggestions for a mistyped one."""

from __future__ import annotations

from difflib import get_close_matches

import click

from edgeharfer.cli.style import Context


class Group(click.Group):
    """A click group that behaves the same with every supported version of click.

    Without arguments it prints its help to standard error and exits with 2, as click 8.2 and later do. The
    error for an unknown command suggests similar names, as in click 8.4 and later. On a terminal the headings
    of helps are bold.
    """

    context_class = Context

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return with_bold_help(super().get_command(ctx, cmd_name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {name!r}.{self._suggestion(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        close = get_close_matches(name.lower(), self.list_commands(ctx))
        return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def with_bold_help(command: click.Command | None) -> click.Command | None:
    """Return a command after its help was given bold headings."""
    if command is not None:
        command.context_class = Context
    return command

"""The command line: options become objects, and one call does the work."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import ExitStack
from importlib import import_module

import click

from edgeharfer.cli.group import Group
from edgeharfer.cli.stopping import Signals
from edgeharfer.cli.streams import (
    drop_output,
    error_stream,
    open_closed_streams,
    wrap_output,
)
from edgeharfer.runtime.child import disable_core_dumps
from edgeharfer.runtime.errors import EdgeharferError

COMMANDS = {
    "run": "Tell actions and emotions from a camera, file or stream.",
    "analyze": "Write reports on videos and pictures, with charts, CSV and PDF.",
    "app": "Open the web app: live view, uploads, recordings and reports in a browser.",
    "tasks": "List what a frame and its faces can be read for.",
    "models": "List, show, verify, sign and install model packages.",
    "doctor": "Check what works here, and show the command that fixes what does not.",
    "evaluate": "Measure the accuracy of a package or Keras model.",
    "benchmark": "Measure how fast packages run here, against other engines and end to end.",
    "tune": "Measure once what runs the packages quickest here, for `run` to use.",
    "prepare": "Turn FER-2013's csv into pictures, and list copies and damage.",
    "train": "Train an emotion or action model.",
    "export": "Turn a Keras model into a model package.",
    "kiosk": "A service for a screen with a camera: install, run, watch, calibrate.",
    "chaos": "Do faults to the product on this device and time its recovery.",
    "calibrate": "Choose the data that a model is quantized with.",
}
"""Name -> help; each stands in the module of its name, imported when it is called."""


class LazyGroup(Group):
    """Knows its commands by name and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"edgeharfer.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeharfer")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Know what the people before a camera are doing and how they feel, on the device itself."""


def main() -> None:
    """Run the command line; the process ends with the exit codes of the interface.

    0 done or stopped; 1 a defect; 2 bad usage, input, configuration or model; 3 a device is not there;
    130, 143 or 129 where SIGINT, SIGTERM or SIGHUP came before a command had its result.
    """
    open_closed_streams()
    with Signals() as signals:
        wrap_output()
        if "--debug" not in sys.argv:
            disable_core_dumps()
            quiet_native_code()
        code = run_command(sys.argv[1:])
        if code:
            drop_output()  # where it failed, it would fail once more at the end of Python
        signals.end_with(code)
    sys.exit(code)


def quiet_native_code() -> None:
    """Keep Python's standard error and let go what C libraries write past it: libjpeg's and Qt's remarks.

    An error is then the one line that it should be. --debug leaves everything as it is.
    """
    if sys.platform == "win32":
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = error_stream(kept)


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are one line on standard error."""
    with ExitStack() as stack:
        signals = Signals.active or stack.enter_context(Signals())
        try:
            with signals.raising():
                return _run(arguments)
        except KeyboardInterrupt:
            return _interrupted(arguments, signals.number or signal.SIGINT)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except EdgeharferError as error:
        return _fail(str(error), error.exit_code, debug)
    except (click.Abort, EOFError) as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        return _fail(_one_line(error), 2, debug)
    except BrokenPipeError:
        drop_output()  # its reader has seen enough
        return 0
    except MemoryError:
        return _fail("out of memory: give it more, or turn a model off (--action off)", 1, debug)
    except Exception as error:
        return _fail(
            f"a defect, please report it: {type(error).__name__}: {error} (--debug shows where)", 1, debug
        )


def _dispatch(arguments: list[str]) -> int:
    """What click's own `main` does, but for its answers to Ctrl-C and to a reader that has gone."""
    if "_EDGEHARFER_COMPLETE" in os.environ:  # by which a shell asks for completions
        cli.main(arguments, prog_name="edgeharfer")
    try:
        with cli.make_context("edgeharfer", arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0


def _interrupted(arguments: list[str], number: int) -> int:
    """The exit code of a command that a signal has ended; 0 for those that run until they are stopped."""
    words = [word for word in arguments if not word.startswith("-")]
    if words[:1] in (["run"], ["app"]) or words[:2] == ["kiosk", "run"]:
        return 0
    return _fail(f"stopped by {signal.Signals(number).name} before it was done", 128 + number, debug=False)


def _one_line(error: click.ClickException) -> str:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" (see '{error.ctx.command_path} --help')"
    return " ".join(error.format_message().split()) + hint


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if ":/" in message:  # a usage error repeats what was typed, and that may be an address with a password
        from edgeharfer.runtime.source.address import redact_within

        message = redact_within(message)
    print(f"edgeharfer: {message}", file=sys.stderr)
    return code

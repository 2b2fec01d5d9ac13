"""The `edgeharfer` command: loads subcommands lazily, runs one, and turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import ExitStack
from importlib import import_module

import click

from edgeharfer.cli.group import Group, with_bold_help
from edgeharfer.cli.progress import progress_shown
from edgeharfer.cli.stopping import Signals
from edgeharfer.cli.streams import (
    drop_output,
    error_stream,
    open_closed_streams,
    wrap_output,
)
from edgeharfer.cli.style import BAD, mark, use_color
from edgeharfer.runtime.child import disable_core_dumps
from edgeharfer.runtime.errors import EdgeharferError, MissingExtra, is_out_of_memory

COMMANDS = {
    "run": "Recognise actions and emotions in video from a camera, file or stream.",
    "analyze": "Write reports on videos and images: charts, CSV, JSON and PDF.",
    "app": "Open the web app: live view, uploads, recordings and reports in a browser.",
    "tasks": "List the available tasks.",
    "models": "List, show, verify, sign and install model packages.",
    "doctor": "Check this installation and show the command that fixes each problem.",
    "evaluate": "Measure the accuracy of a package or model file on labelled data.",
    "benchmark": "Benchmark packages on this machine, against other engines and end to end.",
    "tune": "Find the fastest provider, precision and number of threads for each package.",
    "prepare": "Convert Kaggle's fer2013.csv to images; list duplicates and damaged images.",
    "train": "Train an emotion or action model.",
    "teach": "Create an action package from a few clips per class, without TensorFlow.",
    "export": "Export a Keras, ONNX or TensorFlow Lite model to a model package.",
    "inspect": "Show the inputs and outputs of a model file, and find the settings that fit it.",
    "kiosk": "Install, run and manage the kiosk service: a screen with a camera.",
    "chaos": "Inject faults on this device and measure the recovery from each.",
    "calibrate": "Choose a calibration set for INT8 quantization.",
}
"""Command name -> short help. Each command is defined in the module of its name, imported on first use."""


class LazyGroup(Group):
    """Lists the commands without importing them and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"edgeharfer.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return with_bold_help(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeharfer")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Recognise human actions and facial emotions in video, on the device itself."""


def main() -> None:
    """Run the command line and exit with its exit code.

    0: finished or stopped. 1: internal error. 2: invalid usage, input, configuration or model. 3: a device
    is missing. 130, 143 or 129: SIGINT, SIGTERM or SIGHUP arrived before the command had its result.
    """
    open_closed_streams()
    with Signals() as signals:
        wrap_output()
        if "--debug" not in sys.argv:
            disable_core_dumps()
            quiet_native_code()
        code = run_command(sys.argv[1:])
        if code:
            drop_output()  # if writing failed, the flush at interpreter exit would fail again
        signals.end_with(code)
    sys.exit(code)


def quiet_native_code() -> None:
    """Discard what C libraries such as libjpeg and Qt write to standard error; keep Python's own output.

    Errors are then reported in one line. With --debug this function is not called.
    """
    if sys.platform == "win32":
        return
    descriptor = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = error_stream(descriptor)


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an error is reported in one line on standard error."""
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
        drop_output()  # the reader closed the pipe
        return 0
    except Exception as error:
        if is_out_of_memory(error):
            return _fail("out of memory: free memory, or turn off a model (--action off)", 1, debug)
        return _fail(
            f"internal error, please report it: {type(error).__name__}: {error} (--debug shows a traceback)",
            1,
            debug,
        )


def _dispatch(arguments: list[str]) -> int:
    """Invoke the command as click's `main` does, without its handling of Ctrl-C and broken pipes."""
    if "_EDGEHARFER_COMPLETE" in os.environ:  # shell completion request
        import edgeharfer.cli.completion  # noqa: F401

        cli.main(arguments, prog_name="edgeharfer")
    try:
        with cli.make_context("edgeharfer", arguments, color=use_color()) as context, progress_shown():
            cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except Exception as error:
        if Signals.active is not None and Signals.active.interrupted and _may_be_interrupted(error):
            raise KeyboardInterrupt from error
        raise
    return 0


def _may_be_interrupted(error: Exception) -> bool:
    """Whether an error may be what became of Interrupted, which was raised before it.

    Modules written in C, such as those of NumPy, turn it into other errors when they are imported.
    """
    is_reported = isinstance(error, EdgeharferError | click.ClickException)
    return not is_reported or isinstance(error, MissingExtra) or isinstance(error.__cause__, ImportError)


def _interrupted(arguments: list[str], number: int) -> int:
    """Exit code of a command that a signal ended; 0 for commands that run until they are stopped."""
    words = [word for word in arguments if not word.startswith("-")]
    if words[:1] in (["run"], ["app"]) or words[:2] == ["kiosk", "run"]:
        return 0
    return _fail(f"stopped by {signal.Signals(number).name} before it finished", 128 + number, debug=False)


def _one_line(error: click.ClickException) -> str:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" (see '{error.ctx.command_path} --help')"
    return " ".join(error.format_message().split()) + hint


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if ":/" in message:  # usage errors repeat the arguments, which may hold an address with a password
        from edgeharfer.runtime.source.address import redact_within

        message = redact_within(message)
    click.echo(f"{mark('edgeharfer:', BAD)} {message}", err=True, color=use_color())
    return code

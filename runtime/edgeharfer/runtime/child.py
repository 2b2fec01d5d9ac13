"""Processes that the product starts for parts of its work: a source, an upload, an engine, a trial.

    python -P -m edgeharfer.runtime.child MODULE ARGUMENT…

All of them begin here, so that what holds for this process holds for them.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from edgeharfer.runtime.closing import Closing

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_PR_SET_DUMPABLE = 4  # prctl(2)
_KILLED_S = 0.5
"""How long a killed process is waited for; not even that ends one inside some drivers."""

Stream = int | IO[bytes] | None


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the product in a process of its own."""
    return [sys.executable, "-P", "-m", "edgeharfer.runtime.child", module, *arguments]


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment and some more variables; a child finds the same packages in it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}


class Child(Closing):
    """A running process, which ends with this object at the latest."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = None,
        capture_stderr: bool = False,
        patience_s: float = 0.0,
        own_session: bool = True,
        pass_fds: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            command: What to run, usually from `child_command`.
            stdin: As of `subprocess.Popen`, like stdout and stderr.
            capture_stderr: Keep what it writes to standard error, for `last_stderr_line`.
            patience_s: How long `close` waits for it to end by itself once its pipes are closed.
            own_session: Whether Ctrl-C in the terminal is for this process alone.
            pass_fds: Descriptors that it inherits; none on Windows.
            environment: Variables in addition to those of this process.

        Raises:
            OSError: The system has no room for another process.
        """
        self._errors = tempfile.TemporaryFile() if capture_stderr else None  # noqa: SIM115 - closed by _end
        try:
            self.process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=self._errors or stderr,
                pass_fds=pass_fds,
                env=child_environment(**environment or {}),
                start_new_session=own_session,
            )
        except BaseException:
            if self._errors is not None:
                self._errors.close()
            raise
        self._end = weakref.finalize(self, _end, self.process, self._errors, patience_s)

    def end(self) -> int | None:
        """End it, by force after its patience. Its exit code where it ended by itself."""
        return self._end()

    def close(self) -> None:
        self._end()

    def last_stderr_line(self) -> str:
        """The last line that it has written to standard error so far, "" without any."""
        if self._errors is None or self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _end(process: subprocess.Popen[bytes], errors: IO[bytes] | None, patience_s: float) -> int | None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # It ended and left something unread.
                pipe.close()
    code: int | None = None
    try:
        code = process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_S)
    if errors is not None:
        errors.close()
    return code


def signal_name(code: int | None) -> str:
    """The signal that an exit code stands for, such as "SIGSEGV"; "" where the process ended by itself."""
    return signal.Signals(-code).name if code is not None and code < 0 else ""


def run_child(module: str, *arguments: str, timeout_s: float) -> tuple[int, str]:
    """Run a module of the product to its end: its exit code, and the last line on its standard error.

    The code is negative where a signal ended it. Raises TimeoutError, with the process killed, OSError where
    there is no room for one.
    """
    with Child(child_command(module, *arguments), capture_stderr=True) as child:
        try:
            return child.process.wait(timeout_s), child.last_stderr_line()
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error


async def start_child(module: str, **environment: str) -> Process:
    """Start a module of the product that is written to and read from in an event loop. Raises OSError."""
    import asyncio

    return await asyncio.create_subprocess_exec(
        *child_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(**environment),
        start_new_session=True,
    )


async def stop_child(process: Process, patience_s: float) -> None:
    """Close its input, and kill it where it has not ended by itself in time."""
    import asyncio

    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def disable_core_dumps() -> None:
    """Let no core dump hold the pictures in this process's memory.

    The size limit is for dumps that the system writes to a file; on Linux the process is also marked as not
    dumpable, which holds for programs that take dumps through a pipe, keeps other processes of the same user
    from attaching to it, and has to be done in each process. On Windows the system's error reporting is left
    as it is configured.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        # Where memory cannot be made executable, a ctypes that needs that for its callbacks does not load.
        with contextlib.suppress(ImportError, MemoryError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Run the module that is named first as the program, with the arguments that follow."""
    disable_core_dumps()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

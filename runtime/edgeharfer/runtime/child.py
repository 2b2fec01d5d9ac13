"""Child processes, for isolated sources, uploads, TensorRT engine builds and trial runs.

    python -P -m edgeharfer.runtime.child MODULE ARGUMENT…

All of them start with `main`, which applies the process-wide settings of edgeharfer.
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
_KILL_TIMEOUT_S = 0.5
"""Maximum wait for a killed process, which may hang inside a driver."""

Stream = int | IO[bytes] | None


def child_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of edgeharfer in a child process."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", "edgeharfer.runtime.child", module, *arguments]
    return code_command("from edgeharfer.runtime.child import main; main(sys.argv[1:])", module, *arguments)


def code_command(code: str, *arguments: str) -> list[str]:
    """Return the command that runs Python code, which finds no modules in the current folder."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-c", code, *arguments]
    return [sys.executable, "-c", f"import sys; del sys.path[0]\n{code}", *arguments]


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with its import path and additional variables."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}


class Child(Closing):
    """A running child process, which is ended at the latest when this object is garbage-collected."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = None,
        capture_stderr: bool = False,
        grace_s: float = 0.0,
        own_session: bool = True,
        pass_fds: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start the process.

        Args:
            command: The command, usually from `child_command`.
            stdin: Standard input, as `subprocess.Popen` takes it.
            stdout: Standard output, likewise.
            stderr: Standard error, likewise.
            capture_stderr: Capture standard error for `last_stderr_line`, in place of `stderr`.
            grace_s: Seconds that `end` waits for the process to exit after closing its pipes, before it kills
                the process.
            own_session: Start the process in a session of its own, so that Ctrl-C does not reach it.
            pass_fds: File descriptors that the process inherits; not supported on Windows.
            environment: Additional environment variables.

        Raises:
            OSError: The process cannot be started.
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
        self._end = weakref.finalize(self, _end, self.process, self._errors, grace_s)

    def end(self) -> int | None:
        """Close the pipes, wait for the process, and kill it if it does not exit in time.

        Returns:
            The exit code; None if the process was killed, or if `end` or `close` was called before.
        """
        return self._end()

    def close(self) -> None:
        """Like `end`; harmless when repeated."""
        self._end()

    def last_stderr_line(self) -> str:
        """Return the last line written to standard error so far, or "" if there is none."""
        if self._errors is None or self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _end(process: subprocess.Popen[bytes], errors: IO[bytes] | None, grace_s: float) -> int | None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # the process exited without reading everything
                pipe.close()
    code: int | None = None
    try:
        code = process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_TIMEOUT_S)
    if errors is not None:
        errors.close()
    return code


def signal_name(code: int | None) -> str:
    """Return the signal that ended a process, such as "SIGSEGV"; "" if it exited normally."""
    return signal.Signals(-code).name if code is not None and code < 0 else ""


def run_child(module: str, *arguments: str, timeout_s: float) -> tuple[int, str]:
    """Run a module of edgeharfer in a child process and wait for it.

    Args:
        module: The module.
        *arguments: Its command-line arguments.
        timeout_s: Maximum duration in seconds, after which the process is killed.

    Returns:
        The exit code, which is negative if a signal ended the process; and the last line of its standard
        error.

    Raises:
        TimeoutError: The process did not exit in time.
        OSError: The process cannot be started.
    """
    with Child(child_command(module, *arguments), capture_stderr=True) as child:
        try:
            return child.process.wait(timeout_s), child.last_stderr_line()
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error


async def start_child(module: str, **environment: str) -> Process:
    """Start a module of edgeharfer in a child process, with pipes for asyncio.

    Args:
        module: The module.
        **environment: Additional environment variables.

    Raises:
        OSError: The process cannot be started.
    """
    import asyncio

    return await asyncio.create_subprocess_exec(
        *child_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(**environment),
        start_new_session=True,
    )


async def stop_child(process: Process, grace_s: float) -> None:
    """Close the input of a process from `start_child`, and kill it if it does not exit in time."""
    from edgeharfer.runtime.timeouts import timeout

    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with timeout(grace_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def disable_core_dumps() -> None:
    """Disable core dumps of this process, because its memory holds pictures of people.

    The size limit applies to dumps that the system writes to a file. On Linux the process is also marked as
    not dumpable, which applies to dumps piped to a program and prevents other processes of the same user from
    attaching to it. It is not inherited, so every process calls this. On Windows the configuration of error
    reporting is not changed.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        # ctypes may fail to load if memory must not be made executable.
        with contextlib.suppress(ImportError, MemoryError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Run a module as the program; the first argument is its name, the others are its arguments."""
    disable_core_dumps()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Processes that the product starts for parts of its work: a source, an upload, an engine, a trial.

    python -P -m edgeharfer.runtime.child MODULE ARGUMENT…

All of them begin here, so that what holds for this process holds for them.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import subprocess
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the product in a process of its own."""
    return [sys.executable, "-P", "-m", "edgeharfer.runtime.child", module, *arguments]


def child_environment() -> dict[str, str]:
    """This process's environment, in which a child finds the same packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run_child(module: str, *arguments: str, timeout_s: float) -> tuple[int, str]:
    """Run a module of the product to its end: its exit code, and the last line on its standard error.

    The code is negative where a signal ended it. Raises TimeoutError, with the process killed, OSError where
    there is no room for one.
    """
    try:
        done = subprocess.run(
            child_command(module, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=child_environment(),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def keep_memory_private() -> None:
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
    keep_memory_private()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

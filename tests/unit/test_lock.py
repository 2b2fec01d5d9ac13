"""File locks: one process at a time, and none left behind by a process that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeharfer.runtime.lock import FileLock

HOLDER = """
import sys
from pathlib import Path
from edgeharfer.runtime.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_once_and_can_be_had_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as first, FileLock(path) as second:
        assert first.acquire()
        assert first.acquire(), "it is held already"
        assert not second.acquire()
        first.close()
        assert second.acquire()
    with FileLock(path) as third:
        assert third.acquire(), "leaving the block releases it"
    assert path.exists()


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "missing" / "lock").acquire()


def test_the_lock_of_a_process_that_is_killed_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        FileLock(path) as lock,
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        ) as holder,
    ):  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        refused = not lock.acquire()
        holder.kill()
        holder.wait()
        assert refused
        assert lock.acquire()

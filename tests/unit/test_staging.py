"""Temporary files and folders: one for each writer, left by nobody, and never taken from a live process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from edgeharfer.runtime import staging
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.staging import (
    ABANDONED_S,
    give_to_folder_owner,
    locked_folder,
    remove_abandoned,
    remove_all_abandoned,
    replace_folder,
    temporary_file,
    temporary_folder,
    temporary_path,
    write_durable,
)

needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="Windows goes by age alone")
CHILD = """
import sys, time
from pathlib import Path
from edgeharfer.runtime.staging import temporary_file, temporary_folder
target = Path(sys.argv[1])
with temporary_folder(target / "report") as folder, temporary_file(target / "out.mp4"):
    (folder / "half.pdf").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    (folder / "a.txt").write_text(text)
    (folder / "b.txt").write_text(text)


def test_two_writers_of_one_folder_do_not_meet_and_the_last_one_stays_whole(tmp_path: Path) -> None:
    target = tmp_path / "report"
    with temporary_folder(target) as one, temporary_folder(target) as other:
        assert one != other
        fill(one, "one")
        fill(other, "other")
        assert replace_folder(one, target) == []
        (moved,) = replace_folder(other, target)
        assert (moved / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["report"]
    assert {(target / name).read_text() for name in names(target)} == {"other"}


def test_a_temporary_file_keeps_the_suffix_and_goes_away(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "out.mp4") as one, temporary_file(tmp_path / "out.mp4") as other:
        assert one != other
        assert one.suffix == ".mp4" and one.name.startswith(".out.")
        one.replace(tmp_path / "out.mp4")
    assert names(tmp_path) == ["out.mp4"]


def test_a_long_name_still_fits(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 120 + ".mp4")
    with temporary_file(target) as temporary:
        temporary.replace(target)
    assert names(tmp_path) == [target.name]


@needs_locks
def test_what_a_killed_process_left_is_removed_by_the_next_writer_and_not_before(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        remove_abandoned(tmp_path / "report")
        remove_abandoned(tmp_path / "out.mp4")
        assert len(names(tmp_path)) == 2, "the process that writes them is alive"
        child.kill()
    with temporary_folder(tmp_path / "report") as stage, temporary_file(tmp_path / "out.mp4") as file:
        assert set(names(tmp_path)) == {stage.parent.name, file.name}
    assert names(tmp_path) == []


def test_without_a_lock_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = temporary_path(tmp_path / "out.mp4")
    left.touch()
    written_s = left.stat().st_mtime
    monkeypatch.setattr(staging, "_machine", lambda: "0badcafe")  # so it is another machine's
    young, old = ManualClock(written_s + ABANDONED_S - 1), ManualClock(written_s + ABANDONED_S + 1)
    remove_abandoned(tmp_path / "out.mp4", young)
    assert left.exists()
    remove_abandoned(tmp_path / "out.mp4", old)
    assert not left.exists()


def test_age_is_told_by_the_clock_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = temporary_path(tmp_path / "out.mp4")
    left.touch()
    monkeypatch.setattr(staging, "_machine", lambda: "0badcafe")  # so it is another machine's
    monkeypatch.setattr(SystemClock, "wall", lambda self: left.stat().st_mtime + 2 * ABANDONED_S)
    remove_abandoned(tmp_path / "out.mp4")
    assert left.exists(), "only the clock of this machine is ahead"
    os.utime(left, (0, 0))
    remove_all_abandoned(tmp_path)
    assert names(tmp_path) == []


def test_a_job_of_many_targets_does_not_list_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def glob(self: Path, pattern: str) -> NoReturn:
        raise AssertionError(f"{self} is listed")

    monkeypatch.setattr(Path, "glob", glob)
    with temporary_folder(tmp_path / "report", sweep=False) as new:
        replace_folder(new, tmp_path / "report")


def test_a_folder_of_another_machine_is_replaced_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system refuses the rename, and a cached answer says that there is nothing."""
    target = tmp_path / "report"
    target.mkdir()
    fill(target, "other")
    real = Path.is_dir
    with temporary_folder(target) as new:
        fill(new, "new")
        monkeypatch.setattr(Path, "is_dir", lambda self: self != target and real(self))
        replace_folder(new, target)
    assert {(target / name).read_text() for name in names(target)} == {"new"}


TWO = """
import errno, sys
from pathlib import Path
from edgeharfer.runtime import staging
def no_locks(descriptor):
    raise OSError(errno.EBADF, "folders cannot be locked")
staging.try_lock = no_locks
out, text = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for round in range(10):
    for name in "abc":
        with staging.replaced_folder(out / name) as folder:
            (folder / "one.txt").write_text(text)
            (folder / "two.txt").write_text(text)
"""


def test_two_processes_on_a_file_system_without_locks_leave_whole_folders(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(tmp_path), text],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )
        for text in ("left", "right")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert names(tmp_path) == ["a", "b", "c"]
    for name in "abc":
        assert names(tmp_path / name) == ["one.txt", "two.txt"]
        one, two = ((tmp_path / name / file).read_text() for file in ("one.txt", "two.txt"))
        assert one == two


def test_files_of_other_targets_stay(tmp_path: Path) -> None:
    others = [".out.part", ".out.mp4.part.txt", ".mine.0badcafe-1-0badcafe.part.mp4", "out.mp4"]
    for name in others:
        (tmp_path / name).touch()
    remove_abandoned(tmp_path / "out.mp4")
    assert names(tmp_path) == sorted(others)


@needs_locks
def test_a_folder_that_a_killed_process_had_moved_aside_is_put_back(tmp_path: Path) -> None:
    outer = temporary_path(tmp_path / "report")
    (outer / "new").mkdir(parents=True)
    (outer / "old-0badcafe").mkdir()
    (outer / "old-0badcafe" / "notes.txt").write_text("mine")
    remove_abandoned(tmp_path / "report")
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


def test_a_rename_that_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report"
    target.mkdir()
    fill(target, "old")
    rename = Path.rename

    def broken(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, to)

    with temporary_folder(target) as new:
        monkeypatch.setattr(Path, "rename", broken)
        with pytest.raises(OSError, match="Input/output"):
            replace_folder(new, target)
    assert names(tmp_path) == ["report"]
    assert (target / "a.txt").read_text() == "old"


@needs_locks
def test_a_folder_that_stays_locked_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with locked_folder(tmp_path) as first, locked_folder(tmp_path, ManualClock()) as second:
        assert (first, second) == (True, False)
    with locked_folder(tmp_path, SystemClock()) as third:
        assert third


def test_a_durable_file_is_the_old_one_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_durable(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durable(path, b"new")
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["state.json"]  # noqa: PTH208 - hidden ones count as well


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_becomes_the_services(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "emotion"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "current").symlink_to("gone")
    os.chown(tmp_path, 12345, 12346)
    give_to_folder_owner(tmp_path / "models", tmp_path)
    for path in (tmp_path / "models", folder, folder / "model.onnx", folder / "current"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (12345, 12346)

"""Uninstall removes what the product wrote, and leaves and names everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeharfer.cli.kiosk import kiosk
from edgeharfer.kiosk import install as install_module
from edgeharfer.kiosk.install import InstallPaths, install
from edgeharfer.kiosk.uninstall import uninstall
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import FileLock
from tiny_models import emotion_package

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")


def nothing(words: Sequence[str]) -> None:
    pytest.fail(f"{words} was run for a folder that stands for /")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InstallPaths:
    """An installation below a folder that stands for /."""
    monkeypatch.setattr(install_module, "HIDDEN_FOLDERS", ("/home",))
    program = tmp_path / "edgeharfer"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    made = InstallPaths(tmp_path / "root")
    install(made, program, nothing)
    return made


def fill(state: Path) -> None:
    """Everything that a kiosk that has worked for a while keeps there."""
    for name in (
        "lock", "starts", ".starts.part", "calibration.json", "outbox.db", "outbox.db-wal", "outbox.db-shm",
        "outbox.broken", ".cache/edgeharfer/engines/a.engine", ".nv/ComputeCache/1/2",
    ):  # fmt: skip
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(b"x")
    task = state / "models" / "emotion"
    for name in ("tiny-01234567", "tiny-89abcdef", ".tiny-00000000.part"):
        emotion_package(task / name)
    (task / "current").symlink_to("tiny-01234567")
    (task / "previous").symlink_to("tiny-89abcdef")
    (task / ".current.part").symlink_to("tiny-01234567")


def left_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_nothing_of_the_product_is_left(places: InstallPaths, tmp_path: Path) -> None:
    fill(places.state)
    install(places, tmp_path / "edgeharfer", nothing, "chromium")
    done = uninstall(places, nothing)
    assert left_below(places.root) == set()
    for path in (places.unit, places.browser_unit, places.config.parent, places.state, places.private_state):
        assert not path.exists() and not path.is_symlink()
        assert f"removed {path}" in done
    assert uninstall(places, nothing) == ["nothing was installed"]


FOREIGN = ("notes.txt", "backup/outbox.db", "models/readme", "models/emotion/tiny-01234567/mine.txt",
           "models/emotion/other/model.onnx", "lock.old")  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_others_in_the_state_folder_is_left_and_named(places: InstallPaths, name: str) -> None:
    fill(places.state)
    path = places.private_state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    done = uninstall(places, nothing)
    assert path.read_text(encoding="utf-8") == "mine"
    left = [line for line in done if line.startswith("left ")]
    assert len(left) == 1 and str(path).startswith(left[0].removeprefix("left ").partition(":")[0])
    assert left_below(places.root) == {f"var/lib/private/edgeharfer/{name}", "var/lib/edgeharfer"}


def test_no_link_is_followed_out_of_the_state_folder(places: InstallPaths, tmp_path: Path) -> None:
    """The service owns that folder, and could name any other one."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "emotion").mkdir(parents=True)
    (elsewhere / "emotion" / "current").write_text("mine", encoding="utf-8")
    (places.state / "models").symlink_to(elsewhere)
    uninstall(places, nothing)
    assert (elsewhere / "emotion" / "current").exists()


def test_an_edited_configuration_is_left_unless_it_is_purged(places: InstallPaths) -> None:
    places.config.write_text("[site]\nname = 'shop'\n", encoding="utf-8")
    password = places.config.with_name("password")
    password.write_text("secret\n", encoding="utf-8")
    done = uninstall(places, nothing)
    assert f"left {places.config}: edited; `kiosk uninstall --purge` removes it as well" in done
    assert f"left {password}: not written by edgeharfer" in done
    assert places.config.exists() and not places.unit.exists() and not places.state.exists()
    again = CliRunner().invoke(kiosk, ["uninstall", "--purge", "--root", str(places.root)])
    assert again.exit_code == 0 and f"removed {places.config}" in again.output
    assert left_below(places.root) == {"etc/edgeharfer/password"}


def test_a_unit_of_others_and_its_drop_ins_are_left(places: InstallPaths) -> None:
    places.unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    drop_in = places.unit.with_name(f"{places.unit.name}.d") / "override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=5\n", encoding="utf-8")
    done = uninstall(places, nothing)
    assert places.unit.exists() and drop_in.exists()
    assert [line.partition(":")[0] for line in done if line.startswith("left ")] == [
        f"left {places.unit}", f"left {drop_in.parent}",
    ]  # fmt: skip


def test_a_kiosk_that_still_runs_is_not_pulled_out_from_under(places: InstallPaths) -> None:
    lock = FileLock(places.state / "lock")
    assert lock.acquire()
    with pytest.raises(SinkError, match="still running"):
        uninstall(places, nothing)
    assert places.unit.exists() and places.config.exists()
    lock.close()
    uninstall(places, nothing)
    assert left_below(places.root) == set()


def test_a_state_folder_that_an_administrator_moved_is_left(places: InstallPaths, tmp_path: Path) -> None:
    places.private_state.rmdir()
    moved = tmp_path / "large"
    moved.mkdir()
    (moved / "outbox.db").write_bytes(b"x")
    places.private_state.symlink_to(moved)
    done = uninstall(places, nothing)
    assert (moved / "outbox.db").exists()
    assert f"left {places.private_state}: a link to {moved}, not made by edgeharfer" in done

"""Install writes three things, on request a unit for the browser; only root may read the configuration."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeharfer.kiosk import install as module
from edgeharfer.kiosk.config import credential_or_file, default_text
from edgeharfer.kiosk.install import (
    InstallPaths,
    check_program,
    check_systemd,
    install,
    plan_files,
    run_command,
    systemd_version,
)
from edgeharfer.runtime.errors import ConfigError, SinkError

PROGRAM = Path("/opt/edgeharfer/bin/edgeharfer")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A command in a place that the service may see."""
    monkeypatch.setattr(module, "HIDDEN_FOLDERS", ("/home",))
    path = tmp_path / "edgeharfer"
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def nothing(words: Sequence[str]) -> None:
    pytest.fail(f"{words} was run for a folder that stands for /")


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_install_writes_unit_configuration_and_state_folder(tmp_path: Path, program: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    done = install(InstallPaths(root), program, nothing)
    assert files_below(root) == {
        "etc/systemd/system/edgeharfer-kiosk.service", "etc/edgeharfer/kiosk.toml", "var/lib/edgeharfer",
    }  # fmt: skip
    assert (root / "var/lib/edgeharfer").is_dir()
    assert "systemctl enable --now edgeharfer-kiosk.service" in done[-1]


def test_a_unit_that_shows_the_page_is_written_where_a_browser_is_named(
    tmp_path: Path, program: Path
) -> None:
    places = InstallPaths(tmp_path / "root")
    done = install(places, program, nothing, "chromium")
    text = places.browser_unit.read_text(encoding="utf-8")
    assert places.browser_unit == places.root / "etc/systemd/user/edgeharfer-kiosk-browser.service"
    assert re.search(r"^ExecStart=chromium --kiosk .*http://127\.0\.0\.1:9464/$", text, re.MULTILINE)
    assert "run as the desktop user: systemctl --user enable --now edgeharfer-kiosk-browser.service" in done
    places.config.write_text("[health]\nport = 8080\n", encoding="utf-8")
    install(places, program, nothing, "chromium")
    assert "http://127.0.0.1:8080/\n" in places.browser_unit.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_only_the_owner_may_read_the_configuration(tmp_path: Path, program: Path) -> None:
    places = InstallPaths(tmp_path / "root")
    install(places, program, nothing)
    assert stat.S_IMODE(places.config.stat().st_mode) == 0o600
    places.config.chmod(0o644)
    done = install(places, program, nothing)
    assert stat.S_IMODE(places.config.stat().st_mode) == 0o640
    assert f"removed access of other users to {places.config}" in done
    assert not any("unreadable" in line for line in install(places, program, nothing))


def test_the_service_reads_the_copy_that_systemd_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, credentials = tmp_path / "kiosk.toml", tmp_path / "credentials"
    credentials.mkdir()
    for path in (config, credentials / "kiosk.toml"):
        path.write_text("", encoding="utf-8")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert credential_or_file(config, environment) == config
    monkeypatch.setattr(os, "access", lambda path, mode: path != config)
    assert credential_or_file(config, environment) == credentials / "kiosk.toml"
    assert credential_or_file(config, {}) == config
    assert credential_or_file(tmp_path / "other.toml", environment) == tmp_path / "other.toml"


def test_a_systemd_without_credentials_is_refused(tmp_path: Path) -> None:
    assert systemd_version(InstallPaths(tmp_path)) == 0
    for version in (0, 247, 252):
        check_systemd(version)
    with pytest.raises(ConfigError, match="systemd 239 is too old"):
        check_systemd(239)


def test_a_second_install_keeps_the_configuration(tmp_path: Path, program: Path) -> None:
    places = InstallPaths(tmp_path / "root")
    install(places, program, nothing)
    places.config.write_text("[limits]\nmemory_mb = 300\n", encoding="utf-8")
    install(places, program, nothing)
    assert places.config.read_text(encoding="utf-8") == "[limits]\nmemory_mb = 300\n"
    assert "MemoryMax=300M" in places.unit.read_text(encoding="utf-8")


def test_the_plan_writes_nothing(tmp_path: Path) -> None:
    texts = plan_files(InstallPaths(tmp_path), PROGRAM)
    assert texts[tmp_path / "etc/edgeharfer/kiosk.toml"] == default_text()
    assert f"ExecStart={PROGRAM} kiosk run --config /etc/edgeharfer/kiosk.toml" in "".join(texts.values())
    assert files_below(tmp_path) == set()


def test_a_refused_purpose_is_refused_at_installation(tmp_path: Path) -> None:
    places = InstallPaths(tmp_path)
    places.config.parent.mkdir(parents=True)
    places.config.write_text("[site]\npurpose = 'workplace'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Art\. 5\(1\)\(f\)"):
        plan_files(places, PROGRAM)


def test_a_command_that_the_service_cannot_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="command not found"):
        check_program(tmp_path / "edgeharfer")
    path = tmp_path / "edgeharfer"
    path.write_text("", encoding="utf-8")
    path.chmod(0o755)
    if any(path.is_relative_to(folder) for folder in module.HIDDEN_FOLDERS):
        with pytest.raises(ConfigError, match="such as /opt"):
            check_program(path)


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path, program: Path) -> None:
    (tmp_path / "root").write_text("a file", encoding="utf-8")
    with pytest.raises(SinkError, match="run the command as root"):
        install(InstallPaths(tmp_path / "root"), program, nothing)


def test_a_command_that_fails_gives_its_last_line() -> None:
    with pytest.raises(SinkError, match=r"^sh -c .*: the unit is masked$"):
        run_command(["sh", "-c", "echo first >&2; echo the unit is masked >&2; exit 1"])

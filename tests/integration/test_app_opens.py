"""`edgeharfer app` opens its page in the default browser, and where it does not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytest.importorskip("reportlab", reason="needs the app extra")

from app_parts import until
from edgeharfer.app import server
from edgeharfer.app.open_page import browser_process, has_desktop, local_address
from edgeharfer.app.settings import Settings
from edgeharfer.cli import run_command

DESKTOP = {"DISPLAY": ":0"}
WRITER = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


@pytest.mark.parametrize(
    ("environment", "platform", "shown"),
    [
        (DESKTOP, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({**DESKTOP, "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, "linux", False),
        ({**DESKTOP, "SSH_TTY": "/dev/pts/0"}, "linux", False),
        ({}, "win32", True),
        ({}, "darwin", True),
        ({"SSH_CLIENT": "192.0.2.1 1 22"}, "darwin", False),
    ],
)
def test_a_window_needs_a_desktop_in_front_of_the_user(
    environment: Mapping[str, str], platform: str, shown: bool
) -> None:
    assert has_desktop(environment, platform) is shown


@pytest.mark.parametrize(
    ("address", "opened"),
    [
        ("http://127.0.0.1:8765/", "http://127.0.0.1:8765/"),
        ("http://0.0.0.0:8765/", "http://127.0.0.1:8765/"),
        ("http://[::]:8765/", "http://127.0.0.1:8765/"),
        ("http://192.0.2.7:80/", "http://192.0.2.7:80/"),
    ],
)
def test_an_address_that_stands_for_all_is_opened_on_this_machine(address: str, opened: str) -> None:
    assert local_address(address) == opened


def test_the_default_browser_gets_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, told = tmp_path / "browser.py", tmp_path / "told"
    script.write_text(WRITER, encoding="utf-8")
    monkeypatch.setenv("BROWSER", f'"{sys.executable}" "{script}" "{told}" %s')
    with browser_process("http://127.0.0.1:8765/"):
        until(lambda: told.exists() and told.read_text(encoding="utf-8"))
    assert told.read_text(encoding="utf-8") == "http://127.0.0.1:8765/"


def test_a_browser_that_is_waited_for_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, told, closed = tmp_path / "browser.py", tmp_path / "told", tmp_path / "closed"
    waits = f"{WRITER}\nimport time\nwhile not pathlib.Path(sys.argv[3]).exists(): time.sleep(0.05)"
    script.write_text(waits, encoding="utf-8")
    monkeypatch.setenv("BROWSER", f'"{sys.executable}" "{script}" "{told}" %s "{closed}"')
    with browser_process("http://127.0.0.1:8765/"):
        until(told.exists)
    closed.touch()


@pytest.mark.parametrize(
    ("words", "environment", "opened"),
    [
        ([], DESKTOP, ["http://127.0.0.1:1/"]),
        (["--no-browser"], DESKTOP, []),
        ([], {**DESKTOP, "SSH_CONNECTION": "x"}, []),
    ],
)
def test_the_command_opens_it_unless_told_not_to(
    words: list[str], environment: Mapping[str, str], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def serve(settings: Settings, ready: Callable[[str], None], stopping: object) -> None:
        ready("http://127.0.0.1:1/")

    def look(address: str) -> object:
        found.append(address)
        return browser_process(address)

    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("edgeharfer.app.open_page.browser_process", look)
    assert run_command(["app", *words]) == 0
    assert found == opened

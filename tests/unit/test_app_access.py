"""Who may use the app: binds, tokens, names, origins, sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the app extra")

from edgeharfer.app import access
from edgeharfer.app.access import Doorman, check_bind, host_allowed, is_loopback, origin_allowed, read_token
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import chosen
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
    ("::", False), ("192.0.2.1", False), ("", False), ("localhost.example", False),
])  # fmt: skip
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    if not loopback:
        with pytest.raises(ConfigError, match="token"):
            check_bind(Settings(host=host))
        check_bind(Settings(host=host, token=TOKEN))


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    assert read_token(file, {}) == TOKEN
    assert read_token(None, {access.TOKEN_VARIABLE: TOKEN}) == TOKEN
    assert read_token(None, {}) == ""


@pytest.mark.parametrize("text", ["", "short", "x" * 600])
def test_what_is_no_secret_is_no_token(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="ascii")
    with pytest.raises(ConfigError, match="16 to 512 signs") as told:
        read_token(file, {})
    assert "short" not in str(told.value).replace(str(file), "")


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none", {})


EXPOSED = Settings(host="0.0.0.0", token=TOKEN, names=("faces.example",))
NAMED = replace(EXPOSED, host="127.0.0.1")


@pytest.mark.parametrize(("settings", "host", "allowed"), [
    (Settings(), "localhost:8765", True), (Settings(), "LOCALHOST", True), (Settings(), "[::1]:80", True),
    (Settings(), "192.0.2.1", False), (Settings(), "faces.example", False),
    (Settings(), "user@localhost", False),
    (Settings(), "localhost:8765:1", False), (Settings(), "", False),
    (NAMED, "faces.example", True), (NAMED, "Faces.Example:443", True), (NAMED, "192.0.2.1", False),
    (EXPOSED, "192.0.2.1:8765", True), (EXPOSED, "[2001:db8::1]:8765", True),
    (EXPOSED, "evil.example", False),
])  # fmt: skip
def test_a_host_is_a_name_of_the_app(settings: Settings, host: str, allowed: bool) -> None:
    assert host_allowed(host, settings) is allowed


@pytest.mark.parametrize(("origin", "allowed"), [
    ("http://faces.example", True), ("https://faces.example", True), ("https://faces.example:444", False),
    ("https://faces.example.evil", False), ("null", False), ("file://", False), ("", False),
    ("https://faces.example/x", False), ("chrome-extension://faces.example", False),
])  # fmt: skip
def test_an_origin_is_the_host_itself(origin: str, allowed: bool) -> None:
    assert origin_allowed(origin, "faces.example") is allowed


def test_wrong_tokens_tire_the_doorman_for_a_minute() -> None:
    clock = ManualClock(1000.0)
    doorman = Doorman(TOKEN, clock)
    assert not any(doorman.knows_token(f"guess number {n:04}") for n in range(access.GUESSES))
    assert doorman.tired and not doorman.knows_token(TOKEN)
    clock.sleep(access.GUESS_WINDOW_S + 1)
    assert doorman.knows_token(TOKEN)


def test_sessions_end_by_time_and_by_leaving() -> None:
    clock = ManualClock(1000.0)
    doorman = Doorman(TOKEN, clock)
    first, second = doorman.admit(), doorman.admit()
    assert first != second and doorman.knows_session(first) and not doorman.knows_session("")
    doorman.dismiss(first)
    assert not doorman.knows_session(first) and doorman.knows_session(second)
    clock.sleep(access.SESSION_S + 1)
    assert not doorman.knows_session(second)


def test_sessions_are_bounded() -> None:
    clock = ManualClock(1000.0)
    doorman = Doorman(TOKEN, clock)
    oldest = doorman.admit()
    for _ in range(access.MOST_SESSIONS):
        clock.sleep(0.001)
        newest = doorman.admit()
    assert not doorman.knows_session(oldest) and doorman.knows_session(newest)


def test_only_this_machine_names_sources_freely() -> None:
    assert chosen("/clip.mp4", Settings(sources=("rtsp://x",))) == "/clip.mp4"
    assert chosen("#0", Settings(sources=("rtsp://x",))) == "rtsp://x"
    assert chosen("/clip.mp4", EXPOSED) is None and chosen("#0", EXPOSED) is None
    assert chosen("#0", replace(EXPOSED, sources=("0",))) == "0"

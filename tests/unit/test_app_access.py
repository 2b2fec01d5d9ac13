"""Who may use the app: binds, tokens, names, origins, sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeharfer.app import access
from edgeharfer.app.access import Authenticator, check_bind, read_token
from edgeharfer.app.server import origin_policy
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import resolve_choice
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.http.origins import client_address, is_loopback

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
    with pytest.raises(ConfigError, match="16 to 512 characters") as told:
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
    assert origin_policy(settings).accepts_host(host) is allowed


@pytest.mark.parametrize(("origin", "allowed"), [
    ("http://faces.example", True), ("https://faces.example", True), ("https://faces.example:444", False),
    ("https://faces.example.evil", False), ("null", False), ("file://", False), ("", False),
    ("https://faces.example/x", False), ("chrome-extension://faces.example", False), ("http://[", False),
    ("http://[::1", False), ("https://\u2100", False), ("http://\xff]", False),
])  # fmt: skip
def test_an_origin_is_the_host_itself(origin: str, allowed: bool) -> None:
    assert origin_policy(EXPOSED).accepts_origin(origin, "faces.example") is allowed


def test_bytes_of_the_environment_that_are_no_text_are_no_token() -> None:
    with pytest.raises(ConfigError, match="not valid UTF-8"):
        read_token(None, {access.TOKEN_VARIABLE: "0123456789abcdef\udcff"})


def test_wrong_tokens_are_limited_by_address_and_the_right_one_never_is() -> None:
    clock = ManualClock(1000.0)
    authenticator = Authenticator(TOKEN, clock)
    verdicts = [authenticator.check(b"guess number %04d" % n, "192.0.2.1") for n in range(12)]
    assert verdicts == ["wrong"] * access.MAX_WRONG_TOKENS + ["limited"] * 2
    assert authenticator.check(TOKEN.encode(), "192.0.2.1") == "right"
    assert authenticator.check(b"guess", "192.0.2.2") == "wrong"
    clock.sleep(access.WRONG_TOKEN_WINDOW_S + 1)
    assert authenticator.check(b"guess", "192.0.2.1") == "wrong"


def test_the_limit_ends_for_a_client_that_asks_all_the_time() -> None:
    clock = ManualClock(1000.0)
    authenticator = Authenticator(TOKEN, clock)
    verdicts = []
    for _ in range(int(access.WRONG_TOKEN_WINDOW_S) + 1):
        verdicts.append(authenticator.check(b"guess", "192.0.2.1"))
        clock.sleep(1.0)
    assert (
        verdicts.count("limited") == access.WRONG_TOKEN_WINDOW_S - access.MAX_WRONG_TOKENS
        and verdicts[-1] == "wrong"
    )


def test_addresses_with_wrong_tokens_are_bounded() -> None:
    authenticator = Authenticator(TOKEN, ManualClock(1000.0))
    for _ in range(access.MAX_WRONG_TOKENS):
        authenticator.check(b"guess", "busy")
    for number in range(access.MAX_ADDRESSES - 1):
        authenticator.check(b"guess", str(number))
    assert authenticator.rate_limited("busy")
    authenticator.check(b"guess", "one more")
    assert not authenticator.rate_limited("busy")


@pytest.mark.parametrize(("host", "address"), [
    ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), (None, ""),
    ("a name", "a name"),
])  # fmt: skip
def test_a_client_is_an_address_or_its_ipv6_network(host: str | None, address: str) -> None:
    assert client_address(host) == address


def test_sessions_end_by_time_and_by_leaving() -> None:
    clock = ManualClock(1000.0)
    authenticator = Authenticator(TOKEN, clock)
    first, second = authenticator.create_session(), authenticator.create_session()
    assert (
        first != second and authenticator.is_valid_session(first) and not authenticator.is_valid_session("")
    )
    authenticator.end_session(first)
    assert not authenticator.is_valid_session(first) and authenticator.is_valid_session(second)
    clock.sleep(access.SESSION_S + 1)
    assert not authenticator.is_valid_session(second)


def test_sessions_are_bounded() -> None:
    clock = ManualClock(1000.0)
    authenticator = Authenticator(TOKEN, clock)
    oldest = authenticator.create_session()
    for _ in range(access.MAX_SESSIONS):
        clock.sleep(0.001)
        newest = authenticator.create_session()
    assert not authenticator.is_valid_session(oldest) and authenticator.is_valid_session(newest)


def test_only_this_machine_names_sources_freely() -> None:
    assert resolve_choice("/clip.mp4", Settings(sources=("rtsp://x",))) == "/clip.mp4"
    assert resolve_choice("#0", Settings(sources=("rtsp://x",))) == "rtsp://x"
    assert resolve_choice("/clip.mp4", EXPOSED) is None and resolve_choice("#0", EXPOSED) is None
    assert resolve_choice("#0", replace(EXPOSED, sources=("0",))) == "0"

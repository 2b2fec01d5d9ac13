"""The look for a display, against a scripted X server."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.sinks import display
from edgeharfer.runtime.sinks.display import display_available, window_unavailable_reason
from edgeharfer.runtime.sinks.window import WindowSink

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X sockets are looked at on Linux")
KEY = bytes(range(16))


@contextmanager
def x_server(monkeypatch: pytest.MonkeyPatch, answers: bytes, seen: list[bytes]) -> Iterator[str]:
    """Listens as display number 0 of a loopback host; gives the n-th caller the n-th byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(display, "X_TCP_PORT", server.getsockname()[1])

        server.settimeout(5)

        def serve() -> None:
            for answer in answers:
                try:
                    caller, _ = server.accept()
                except TimeoutError:
                    return  # fewer callers than answers: the test sees that by what it was told
                with caller:
                    seen.append(caller.recv(1024))
                    caller.sendall(bytes([answer]))

        thread = threading.Thread(target=serve)
        thread.start()
        yield "127.0.0.1:0.0"
        thread.join(5)


@pytest.fixture(autouse=True)
def no_authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    authority = tmp_path / "authority"
    monkeypatch.setenv("XAUTHORITY", str(authority))
    return authority


def write_authority(path: Path, number: bytes, key: bytes) -> None:
    fields = (b"host", number, b"MIT-MAGIC-COOKIE-1", key)
    path.write_bytes(b"\x01\x00" + b"".join(struct.pack(">H", len(field)) + field for field in fields))


@linux
def test_a_server_that_accepts_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with x_server(monkeypatch, b"\x01", seen) as name:
        monkeypatch.setenv("DISPLAY", name)
        assert display_available()
    assert seen[0][:6] == b"l\x00\x0b\x00\x00\x00"


@linux
def test_the_key_of_the_authority_file_is_shown(monkeypatch: pytest.MonkeyPatch, no_authority: Path) -> None:
    write_authority(no_authority, b"0", KEY)
    seen: list[bytes] = []
    with x_server(monkeypatch, b"\x01", seen) as name:
        monkeypatch.setenv("DISPLAY", name)
        assert display_available()
    assert seen[0].endswith(KEY)
    assert b"MIT-MAGIC-COOKIE-1" in seen[0]


@linux
def test_a_server_that_refuses_is_asked_again_and_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    refusals = bytes(len(display.RETRY_PAUSES_S))
    with x_server(monkeypatch, refusals, []) as name:
        monkeypatch.setenv("DISPLAY", name)
        assert display.connect_display(clock) is None
    assert clock.now_s == pytest.approx(sum(display.RETRY_PAUSES_S))


@linux
def test_a_server_that_starts_anew_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with x_server(monkeypatch, b"\x00\x00\x01", []) as name:
        monkeypatch.setenv("DISPLAY", name)
        link = display.connect_display(ManualClock())
        assert link is not None
        link.close()


@linux
@pytest.mark.parametrize("name", ["", "nonsense", ":", ":x", "a:b:c", "localhost:99999", ":991"])
def test_names_that_are_no_display(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    clock = ManualClock()
    assert not display_available()
    assert display.connect_display(clock) is None
    assert clock.now_s == 0, "nobody is there to be waited for"


@linux
def test_a_damaged_authority_file_does_no_harm(monkeypatch: pytest.MonkeyPatch, no_authority: Path) -> None:
    no_authority.write_bytes(b"\x01\x00\xff\xff" + bytes(37))
    with x_server(monkeypatch, b"\x01", []) as name:
        monkeypatch.setenv("DISPLAY", name)
        assert display_available()


@linux
def test_a_window_without_a_display_is_refused_with_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT")
    with pytest.raises(ProviderError, match=r"DISPLAY is not set.*--view") as caught, WindowSink():
        pass
    assert caught.value.exit_code == 3


@linux
def test_an_opencv_without_windows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    lack = window_unavailable_reason()
    assert lack is not None
    assert "opencv-python-headless" in lack


def test_other_systems_always_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert display_available()

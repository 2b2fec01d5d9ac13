"""The datagrams to systemd, and the ping that follows the frames."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from pathlib import Path

import pytest

from edgeharfer.kiosk.systemd import WatchdogPinger, notify, watchdog_s
from edgeharfer.runtime.clock import ManualClock


def test_a_socket_by_path_gets_the_message(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert notify("READY=1\nSTATUS=käm", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == "READY=1\nSTATUS=käm".encode()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")
def test_an_abstract_socket_gets_the_message() -> None:
    name = f"edgeharfer-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        assert notify("WATCHDOG=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:3"])
def test_nothing_is_sent_where_nobody_asked(address: str | None) -> None:
    assert not notify("READY=1", {} if address is None else {"NOTIFY_SOCKET": address})


def test_a_manager_that_is_gone_is_no_defect(tmp_path: Path) -> None:
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_is_systemds(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(environment) == seconds


def test_the_ping_stops_with_the_frames() -> None:
    clock, sent = ManualClock(), list[tuple[float, str]]()
    watchdog = WatchdogPinger(lambda message: sent.append((clock.now_s, message)), 10.0, clock)
    for _ in range(300):  # 30 s of frames
        watchdog.ping()
        clock.sleep(0.1)
    clock.sleep(100.0)  # then a stage hangs
    times = [time_s for time_s, _ in sent]
    assert {message for _, message in sent} == {"WATCHDOG=1"}
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 5.0
    assert times[-1] <= 30.0


def test_attempts_to_reach_a_camera_keep_it_alive() -> None:
    clock, sent = ManualClock(), list[float]()
    watchdog = WatchdogPinger(lambda _: sent.append(clock.now_s), 10.0, clock)
    for _ in range(20):
        watchdog.ping()
        clock.sleep(5.0)
    assert sent == [5.0 * n for n in range(20)]


@pytest.mark.parametrize(
    ("state", "seconds"), [("lost", 20.0), ("live", 0.0), ("stalled", 0.0), ("frozen", 0.0)]
)
def test_a_state_that_never_ends_is_a_hang(state: str, seconds: float) -> None:
    clock, sent = ManualClock(), list[float]()
    watchdog = WatchdogPinger(lambda _: sent.append(clock.now_s), 10.0, clock)
    for _ in range(600):
        watchdog.observe_state(state)
        clock.sleep(0.1)
    assert max(sent, default=0.0) == pytest.approx(seconds, abs=2.6)


def test_states_that_follow_each_other_keep_it_alive() -> None:
    clock, sent = ManualClock(), list[float]()
    watchdog = WatchdogPinger(lambda _: sent.append(clock.now_s), 10.0, clock)
    for step in range(600):
        watchdog.observe_state("connecting" if step // 50 % 2 else "backoff")
        clock.sleep(0.1)
    assert max(sent) > 57


def test_no_watchdog_no_ping() -> None:
    sent: list[str] = []
    WatchdogPinger(sent.append, None, ManualClock()).ping()
    assert sent == []

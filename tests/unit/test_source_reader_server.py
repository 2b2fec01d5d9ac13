"""Reader processes of several sources: forked from one, each on its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from analysis_processes import is_running
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.isolated import IsolatedSource
from edgeharfer.runtime.source.reader_server import ReaderServer
from edgeharfer.runtime.source.requests import OpenRequest
from mjpeg_server import MjpegServer, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="readers are forked on Linux")


@pytest.fixture(scope="module")
def readers() -> Iterator[ReaderServer]:
    with ReaderServer() as server:
        yield server


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegServer]:
    with MjpegServer() as server:
        yield server


@pytest.fixture
def open_one(readers: ReaderServer, camera: MjpegServer) -> Iterator[Callable[[], IsolatedSource]]:
    with ExitStack() as stack:

        def opened() -> IsolatedSource:
            request = OpenRequest("stream_source", "StreamSource", {"url": camera.url})
            return stack.enter_context(
                IsolatedSource("camera", request, SystemClock(), start_reader=readers.start_reader)
            )

        yield opened


def pid_of(source: IsolatedSource) -> int:
    assert source._reader is not None
    return source._reader.pid


def fails(source: IsolatedSource) -> str:
    """Read until it fails; return why."""
    try:
        while source.read() is not None:
            continue
    except SourceError as error:
        return str(error)
    raise AssertionError("the source has ended")


def test_each_source_has_a_process_that_dies_alone(open_one: Callable[[], IsolatedSource]) -> None:
    one, two = open_one(), open_one()
    first, second = pid_of(one), pid_of(two)
    assert first != second
    os.kill(first, signal.SIGSEGV)
    assert "crashed (SIGSEGV)" in fails(one)
    assert two.read() is not None and pid_of(two) == second
    one.reconnect()
    assert one.read() is not None and pid_of(one) not in (first, second)
    one.close()
    two.close()
    assert not is_running(second)


def test_a_process_that_hangs_is_killed(open_one: Callable[[], IsolatedSource]) -> None:
    one = open_one()
    pid = pid_of(one)
    os.kill(pid, signal.SIGSTOP)
    one.close()
    assert not is_running(pid)


def test_the_sources_survive_their_server_and_get_another(
    readers: ReaderServer, open_one: Callable[[], IsolatedSource]
) -> None:
    one = open_one()
    server = readers._server
    assert server is not None
    server.process.kill()
    server.process.wait()
    assert one.read() is not None, "its reader goes on"
    with pytest.raises(SourceError, match="cannot be started"):
        open_one()
    two = open_one()
    assert two.read() is not None
    pid = pid_of(one)
    one.close()
    wait_until(lambda: not is_running(pid) or status_of(pid) == "Z")


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_nothing_is_left_when_it_is_closed(camera: MjpegServer) -> None:
    with ReaderServer() as server:
        reader = server.start_reader()
        process = server._server
        reader.end()
        assert not is_running(reader.pid)
    assert process is not None and process.process.poll() is not None
    with pytest.raises(OSError, match="closed"):
        server.start_reader()

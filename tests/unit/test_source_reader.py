"""The reader process: a source that was not read for long, or whose frames nobody took, is opened again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeharfer.runtime.clock import Clock, ManualClock
from edgeharfer.runtime.source import reader
from edgeharfer.runtime.source.base import STALE_S, BaseSource
from edgeharfer.runtime.source.isolated import IsolatedSource
from edgeharfer.runtime.source.messages import FrameMessage, Message, StatusMessage, receive
from edgeharfer.runtime.source.reader import FrameForwarder
from edgeharfer.runtime.types import Frame

Step = Callable[[], None]


class Scripted(BaseSource):
    """A frame for each step, before which the step is called."""

    def __init__(self, clock: Clock, script: list[Step], live: bool) -> None:
        super().__init__("script", clock)
        self._script, self.live = script, live
        self.size, self._seq = (2, 2), 0

    def _next(self) -> Frame | None:
        if not self._script:
            return None
        self._script.pop(0)()
        self._seq += 1
        return self._frame(self._seq - 1, 0.0, np.zeros((2, 2, 3), np.uint8))


class Opening:
    """An order that opens a script; the next opening goes on with it."""

    def __init__(self, script: list[Step], live: bool = True) -> None:
        self.script, self.live, self.opened = script, live, 0

    def open(self, clock: Clock) -> Any:
        self.opened += 1
        return Scripted(clock, self.script, self.live)


class Link:
    """What a follower sends, received at once; `before` is called before each message."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self._theirs = theirs
        self.got: list[Message] = []
        self.before: list[Step] = []

    def sendall(self, data: Any) -> None:
        if self.before and bytes(data[:4]) == b"BGR ":
            self.before.pop(0)()
        self._theirs.sendall(data)

    def numbers(self) -> list[int]:
        while (message := receive(self.ours, 0.01)) is not None:
            self.got.append(message)
        return [message.seq for message in self.got if isinstance(message, FrameMessage)]

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.close()


def follow(link: Link, clock: ManualClock, order: Opening) -> list[int]:
    over = threading.Event()
    follower = FrameForwarder(link, over, clock)  # type: ignore[arg-type]
    follower.forward(order)  # type: ignore[arg-type]
    over.set()
    follower.close()
    return link.numbers()


def nothing() -> None:
    """The next frame comes at once."""


def test_frames_are_sent_to_the_end(link: Link) -> None:
    order = Opening([nothing] * 3)
    assert follow(link, ManualClock(), order) == [0, 1, 2]
    assert order.opened == 1
    assert link.got[-1] == StatusMessage({"ended": {"unreadable": 0, "skipped": []}})


def test_after_a_pause_of_the_reader_its_source_is_opened_again(link: Link) -> None:
    """As by SIGSTOP. What it read last may have waited in a driver, and is not sent."""
    clock = ManualClock()
    order = Opening([nothing, lambda: clock.sleep(STALE_S + 1), nothing, nothing])
    assert follow(link, clock, order) == [0, 1, 2]
    assert order.opened == 2


def test_where_nobody_takes_its_frames_the_source_is_opened_again(link: Link) -> None:
    clock = ManualClock()
    order = Opening([nothing] * 4)
    link.before = [nothing, lambda: clock.sleep(STALE_S + 1)]
    assert follow(link, clock, order) == [0, 1, 2, 3]
    assert order.opened == 2


def test_short_pauses_change_nothing(link: Link) -> None:
    clock = ManualClock()
    order = Opening([lambda: clock.sleep(STALE_S / 2)] * 5)
    link.before = [lambda: clock.sleep(STALE_S / 2)] * 5
    assert follow(link, clock, order) == [0, 1, 2, 3, 4]
    assert order.opened == 1


def test_a_film_on_a_server_is_not_begun_again(link: Link) -> None:
    clock = ManualClock()
    order = Opening([lambda: clock.sleep(STALE_S + 1)] * 3, live=False)
    assert follow(link, clock, order) == [0, 1, 2]
    assert order.opened == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (MemoryError(), MemoryError),
        (ImportError("libcodec.so: failed to map segment from shared object"), MemoryError),
        (
            ImportError("x.so: failed to map segment from shared object: not permitted"),
            RuntimeError,
        ),
        (KeyError("bug"), RuntimeError),
    ],
)
def test_memory_that_runs_out_in_the_reader_is_raised_as_such(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    def fail(_: Clock) -> Any:
        raise error

    monkeypatch.setattr(reader, "from_line", lambda _: SimpleNamespace(open=fail))
    ours, theirs = socket.socketpair()
    process = threading.Thread(target=reader.main, args=(theirs.detach(),))
    process.start()
    ours.sendall(b"{}\n")
    message = receive(ours, 10)
    ours.close()
    process.join()
    assert isinstance(message, StatusMessage)
    parent: Any = SimpleNamespace(name="camera")
    with pytest.raises(raised, match=type(error).__name__):
        IsolatedSource._handle_status(parent, message.content)

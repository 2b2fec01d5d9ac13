"""SIGINT, SIGTERM and SIGHUP: how a command learns of them, and how the process ends if it does not react.

Commands that run until they are stopped (`run`, `kiosk run`, `app`) ask `stop_signals` whether to stop, and
end with 0. In all others the signal raises Interrupted, and they end with 128 + its number, as the shell
says it: 130, 143, 129.

Python runs a signal handler only between two of its own instructions. So a thread listens as well, through
`signal.set_wakeup_fd`: it ends calls into ONNX Runtime that take too long, and at last the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS

CALL_S = 0.6
"""After so long, a call into ONNX Runtime that is still running is asked to return."""
STUCK_S = 0.9
"""A call that has not returned so long after it was asked to never will: the process is ended."""
UNWIND_S = 10.0
"""A command that is not asked whether to stop has so long to close its files, then the process is ended."""
_POLL_S = 0.1

STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal came while a command was at work."""


class Signals:
    """The stop signals of this process while the `with` block lasts; none of them in any but the main thread.

    number: of the first signal that came; None if none did. SIGHUP stays ignored where it was ignored before,
    as under nohup, and so does SIGINT, as in a background job of a script.
    """

    active: ClassVar[Signals | None] = None

    def __init__(self) -> None:
        self.number: int | None = None
        self._raises = False
        self._asked = 0  # how many `stop_signals` blocks are open
        self._code: int | None = None
        self._last_acts: list[Callable[[], None]] = []
        self._before: dict[int, Any] = {}
        self._listener, self._wakeup = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="stop signals", daemon=False)

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        Signals.active = self
        self._wakeup.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in STOPS:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                self._catch(number)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if Signals.active is self:
            if self._code is None:
                for number, handler in self._before.items():
                    signal.signal(number, handler or signal.SIG_DFL)  # None: one that Python did not install
            signal.set_wakeup_fd(self._fd_before)
            self._wakeup.close()
            self._thread.join()
            Signals.active = None
            NATIVE_CALLS.reset()
        self._wakeup.close()
        self._listener.close()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """In this block, which is the command, a signal raises Interrupted; before and after it is noted."""
        self._raises = True
        try:
            if self.number is not None:
                raise Interrupted
            yield
        finally:
            self._raises = False

    @contextmanager
    def asked(self) -> Iterator[Stopping]:
        """In this block a signal raises nothing: it is asked for. SIGINT is heard in any case."""
        if Signals.active is self:
            self._catch(signal.SIGINT)
        self._asked += 1
        try:
            yield Stopping(self)
        finally:
            self._asked -= 1

    def end_with(self, code: int) -> None:
        """The command is done and its outputs are written: from now on a signal ends the process at once.

        In the last moments of Python, when it runs no handlers any more, signals change nothing.
        """
        self._code = code
        atexit.register(self._ignore)

    def before_forced_end(self, act: Callable[[], None]) -> None:
        """Have something done, in another thread, where the process has to be ended."""
        self._last_acts.append(act)

    def _ignore(self) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _catch(self, number: int) -> None:
        before = signal.signal(number, self._came)
        self._before.setdefault(number, before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        first = self.number is None
        self.number = self.number or number
        if first and self._raises and not self._asked:
            raise Interrupted

    def _listen(self) -> None:
        number, came_s = 0, 0.0
        while True:
            self._listener.settimeout(_POLL_S if number else None)
            try:
                numbers = self._listener.recv(64)
            except TimeoutError:
                pass
            else:
                if not numbers:
                    return
                if not number:
                    number = next((one for one in numbers if one in STOPS), 0)
                    came_s, asked = time.monotonic(), bool(self._asked)
            if number:
                self._press(number, time.monotonic() - came_s, asked)

    def _press(self, number: int, waited_s: float, asked: bool) -> None:
        if waited_s >= CALL_S:
            NATIVE_CALLS.stop()
        call = NATIVE_CALLS.stuck(STUCK_S)
        if call is not None and call.is_load and asked:
            self._end(0, f"stopped while {call.name} was loading")
        elif call is not None:
            why = f"{call.name}: a call of this model does not return, so the process was ended"
            self._end(128 + number, why)
        elif not asked and waited_s >= UNWIND_S:
            why = f"did not end within {UNWIND_S:g} s of {signal.Signals(number).name}, so it was ended"
            self._end(128 + number, why)

    def _end(self, code: int, why: str) -> None:
        """End the process from here, as the main thread does not."""
        try:
            for act in self._last_acts:
                act()
            say(why)
        finally:
            os._exit(code)


class Stopping:
    """Called, it says whether a stop signal has come."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __call__(self) -> bool:
        return self._signals.number is not None

    @property
    def exit_code(self) -> int:
        """Of a command that the signal kept from its result."""
        return 128 + (self._signals.number or signal.SIGINT)

    def before_forced_end(self, act: Callable[[], None]) -> None:
        """Have something done where a call that never returns forces the process to end."""
        self._signals.before_forced_end(act)


def _leave_to_parent() -> None:
    """In a forked process: its signals are its own, and would reach the parent through the same socket."""
    if Signals.active is not None:
        signal.set_wakeup_fd(-1)
        for number in STOPS:
            if signal.getsignal(number) == Signals.active._came:
                signal.signal(number, signal.SIG_DFL)
        Signals.active = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Whether Ctrl-C, SIGTERM or SIGHUP came: the command then ends cleanly, its files whole."""
    with ExitStack() as stack:
        signals = Signals.active or stack.enter_context(Signals())
        yield stack.enter_context(signals.asked())


def say(why: str) -> None:
    """One line on standard error from the thread that ends the process; never waits, and imports nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = sys.stderr.fileno()
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            if not poll.poll(0):
                return
        os.write(descriptor, f"edgeharfer: {why}\n".encode("utf-8", "backslashreplace"))

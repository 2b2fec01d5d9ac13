"""Handling of SIGINT, SIGTERM and SIGHUP, with a forced exit if the main thread does not react.

Commands that run until they are stopped (`run`, `kiosk run`, `app`) poll `stop_signals` and exit with 0. In
all others the signal raises Interrupted, and they exit with 128 + its number, as in a shell: 130, 143, 129.

Python runs signal handlers only between bytecode instructions. A thread therefore listens as well, through
`signal.set_wakeup_fd`: it cancels calls into ONNX Runtime that take too long, and finally ends the process.
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
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS

if TYPE_CHECKING:
    from typing_extensions import Self

CALL_TIMEOUT_S = 0.6
"""Time after which a running call into ONNX Runtime is cancelled."""
RETURN_TIMEOUT_S = 0.9
"""Time after its cancellation in which a call must return; otherwise the process is ended."""
CLEANUP_TIMEOUT_S = 10.0
"""Time in which a command that does not poll must close its files; then the process is ended."""
_POLL_S = 0.1

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A stop signal arrived while a command was running."""


class Signals:
    """Handles the stop signals of this process inside a `with` block; does nothing outside the main thread.

    A SIGHUP or SIGINT that was ignored before stays ignored, as under nohup or in a background job.

    Attributes:
        number: The first signal that arrived, or None.
        interrupted: Whether Interrupted was raised for it.
        active: The instance that handles signals now, or None.
    """

    active: ClassVar[Signals | None] = None

    def __init__(self) -> None:
        self.number: int | None = None
        self.interrupted = False
        self._raises = False
        self._pollers = 0  # open `polled` blocks
        self._code: int | None = None
        self._exit_hooks: list[Callable[[], None]] = []
        self._before: dict[int, Any] = {}
        self._listener, self._wakeup = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="stop signals", daemon=False)

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        Signals.active = self
        self._wakeup.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
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
                    signal.signal(number, handler or signal.SIG_DFL)  # None: not installed by Python
            signal.set_wakeup_fd(self._fd_before)
            self._wakeup.close()
            self._thread.join()
            Signals.active = None
            NATIVE_CALLS.reset()
        self._wakeup.close()
        self._listener.close()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise Interrupted for signals inside the block, and for one that arrived before it."""
        self._raises = True
        try:
            if self.number is not None:
                self._interrupt()
            yield
        finally:
            self._raises = False

    @contextmanager
    def polled(self) -> Iterator[StopRequested]:
        """Let the caller poll: signals raise nothing inside the block, and an ignored SIGINT is handled."""
        if Signals.active is self:
            self._catch(signal.SIGINT)
        self._pollers += 1
        try:
            yield StopRequested(self)
        finally:
            self._pollers -= 1

    def end_with(self, code: int) -> None:
        """End the process at once with `code` on a signal from now on: the command has written its outputs.

        During interpreter shutdown, when Python no longer runs handlers, signals are ignored.
        """
        self._code = code
        atexit.register(self._ignore)

    def on_forced_exit(self, hook: Callable[[], None]) -> None:
        """Register a function that another thread calls before it ends the process."""
        self._exit_hooks.append(hook)

    def _ignore(self) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _catch(self, number: int) -> None:
        before = signal.signal(number, self._handle)
        self._before.setdefault(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        first = self.number is None
        self.number = self.number or number
        if first and self._raises and not self._pollers:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        self.interrupted = True
        raise Interrupted

    def _listen(self) -> None:
        number, received_s, polled = 0, 0.0, False
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
                    number = next((one for one in numbers if one in STOP_SIGNALS), 0)
                    received_s, polled = time.monotonic(), bool(self._pollers)
            if number:
                self._enforce(number, time.monotonic() - received_s, polled=polled)

    def _enforce(self, number: int, waited_s: float, *, polled: bool) -> None:
        """Cancel native calls, then end the process, as the time since the signal passes each limit."""
        if waited_s >= CALL_TIMEOUT_S:
            NATIVE_CALLS.stop()
        call = NATIVE_CALLS.stuck(RETURN_TIMEOUT_S)
        if call is not None and call.is_load and polled:
            self._end(0, f"stopped while {call.name} was loading")
        elif call is not None:
            reason = f"{call.name}: a call of this model does not return, so the process was ended"
            self._end(128 + number, reason)
        elif not polled and waited_s >= CLEANUP_TIMEOUT_S:
            name = signal.Signals(number).name
            reason = f"did not stop within {CLEANUP_TIMEOUT_S:g} s of {name}, so the process was ended"
            self._end(128 + number, reason)

    def _end(self, code: int, reason: str) -> None:
        """End the process from this thread, because the main thread does not."""
        try:
            for hook in self._exit_hooks:
                hook()
            write_stderr(reason)
        finally:
            os._exit(code)


class StopRequested:
    """Callable that returns whether a stop signal has arrived."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __call__(self) -> bool:
        return self._signals.number is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a command that did not finish because of the signal."""
        return 128 + (self._signals.number or signal.SIGINT)

    def on_forced_exit(self, hook: Callable[[], None]) -> None:
        """Register a function to call before the process is ended because a call does not return."""
        self._signals.on_forced_exit(hook)


def _reset_in_child() -> None:
    """Restore the default handlers in a forked child, whose signals would reach the parent's socket."""
    if Signals.active is not None:
        signal.set_wakeup_fd(-1)
        for number in STOP_SIGNALS:
            if signal.getsignal(number) == Signals.active._handle:
                signal.signal(number, signal.SIG_DFL)
        Signals.active = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


@contextmanager
def stop_signals() -> Iterator[StopRequested]:
    """Yield a callable that returns whether Ctrl-C, SIGTERM or SIGHUP has arrived."""
    with ExitStack() as stack:
        signals = Signals.active or stack.enter_context(Signals())
        yield stack.enter_context(signals.polled())


def write_stderr(message: str) -> None:
    """Write one line to standard error from the thread that ends the process; never blocks or imports."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = sys.stderr.fileno()
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            if not poll.poll(0):
                return
        os.write(descriptor, f"edgeharfer: {message}\n".encode("utf-8", "backslashreplace"))

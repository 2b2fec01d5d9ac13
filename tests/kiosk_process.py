"""`edgeharfer kiosk run` in a process of its own, under a stand-in for systemd that hears its datagrams."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgeharfer.kiosk.probe import fetch
from kiosk_broker import free_port
from mjpeg_server import wait_until
from tiny_models import action_package, emotion_package

if TYPE_CHECKING:
    from typing_extensions import Self

RUN = "from edgeharfer.cli import main; main()"


class KioskProcess:
    """Entering starts it and waits until it is ready to work; leaving ends it, by force where it must be.

    It can be entered again, which starts it on the state folder that the one before has left.
    heard: (monotonic time, message) of each datagram. prelude: Python that runs before it.
    wrapper: a command that starts it. more: lines of its configuration.
    """

    def __init__(
        self, folder: Path, source: str, *, interval_s: float = 1.0, prelude: str = "",
        wrapper: Sequence[str] = (), environment: Mapping[str, str] | None = None, more: str = "",
        provider: str = "cpu",
    ) -> None:  # fmt: skip
        self.heard: list[tuple[float, str]] = []
        self.state, self.port = folder / "state", free_port()
        config, self._socket = folder / "kiosk.toml", folder / "notify"
        config.write_text(
            f"[source]\nsource = '{source}'\n[health]\nport = {self.port}\n"
            "[privacy]\nnotice_required = false\n"
            f"[models]\naction = '{action_package(folder / 'action').path}'\n"
            f"emotion = '{emotion_package(folder / 'emotion').path}'\nprovider = '{provider}'\n{more}",
            encoding="utf-8",
        )
        self._words = [*wrapper, sys.executable, "-c", prelude + RUN, "kiosk", "run", "--config", str(config),
                       "--state", str(self.state)]  # fmt: skip
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NOTIFY_SOCKET": str(self._socket),
            "WATCHDOG_USEC": str(round(1e6 * interval_s)),
            **(environment or {}),
        }
        self._over = False
        self.complaints = ""

    @property
    def pings(self) -> list[float]:
        return [time_s for time_s, message in self.heard if message == "WATCHDOG=1"]

    def messages(self) -> list[str]:
        return [message for _, message in self.heard]

    def wait_for_ping(self, patience_s: float = 60.0) -> float:
        """Seconds until the next one."""
        before = len(self.pings)
        return wait_until(lambda: len(self.pings) > before, patience_s)

    def fetch(self, path: str) -> tuple[int, str]:
        return fetch(self.port, path)

    def stop(self) -> float:
        """Seconds until it has ended well after SIGTERM."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, self.complaints = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.complaints
        assert "Traceback" not in self.complaints
        return time.monotonic() - start_s

    def run_to_its_end(self) -> tuple[int, str]:
        """Exit code and complaints of one that cannot work."""
        done = subprocess.run(
            self._words, env=self._environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stderr

    def __enter__(self) -> Self:
        self.heard, self._over, self.complaints = [], False, ""
        self._socket.unlink(missing_ok=True)
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(self._socket))
        self._manager.settimeout(0.1)
        self._listener = threading.Thread(target=self._listen, name="systemd")
        self._listener.start()
        self.process = subprocess.Popen(self._words, env=self._environment, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: any(one.startswith("READY=1") for one in self.messages()), 60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self.process.poll()
        if ended is None:
            self.process.kill()
        self.complaints = self.complaints or self.process.communicate()[1]
        if ended:
            print(f"the kiosk had ended with exit code {ended}: {self.complaints}")
        self._over = True
        self._listener.join()
        self._manager.close()

    def _listen(self) -> None:
        while not self._over:
            try:
                message = self._manager.recv(4096).decode()
            except TimeoutError:
                continue
            self.heard.append((time.monotonic(), message))

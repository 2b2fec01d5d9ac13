"""A real mosquitto on a free port of loopback, which can be killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from system_parts import find_program, require

if TYPE_CHECKING:
    from typing_extensions import Self


class Broker:
    """Keeps its port and its state over restarts. `lines` are added to its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        self.port = free_port()
        config = folder / "mosquitto.conf"
        # No limit of messages on their way: what was acknowledged is on its way to who listens.
        config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\n"
            "max_inflight_messages 0\nmax_queued_messages 0\nuser root\n"
            + "".join(f"{line}\n" for line in lines or ("allow_anonymous true",)),
            encoding="utf-8",
        )
        require("mosquitto")
        self._words = [str(find_program("mosquitto")), "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            if _answers(self.port):
                return
            assert self._process.poll() is None, "mosquitto ended at once"
            time.sleep(0.02)
        raise AssertionError("mosquitto does not answer")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0

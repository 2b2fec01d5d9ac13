"""Commands under strace, without a network where the system allows that: what they connect to, and write."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,openat2,creat"
# The loopback interface of a fresh network namespace is down (netdevice(7): SIOCSIFFLAGS, IFF_UP).
LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as _link:
    fcntl.ioctl(_link, 0x8914, struct.pack("16sh", b"lo", 1))
"""
NO_FILE = re.compile(r"/dev/(null|tty|pts/\d+)|/proc/self/.*|/proc/\d+/.*")


@cache
def alone() -> tuple[str, ...]:
    """A command that takes the network away; nothing where this system does not allow it."""
    words = ("unshare", "--user", "--map-root-user", "--net")
    able = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0
    return words if able else ()


def traced(log: Path) -> list[str]:
    """The words before a command whose calls go into the log."""
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "256", "-e", f"trace={CALLS}", "-o", str(log)]
    return [*alone(), *strace]


def prelude() -> str:
    """What Python does first in there."""
    return LOOPBACK_UP if alone() else ""


class Trace:
    """What a command did."""

    def __init__(self, log: Path) -> None:
        self.lines = log.read_text("utf-8", "replace").splitlines()

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Each address and port of the internet that something was sent to, or would have been."""
        for line in self.lines:
            if "sa_family=AF_INET" not in line or " bind(" in line:
                continue
            address = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
            port = re.search(r"sin6?_port=htons\((\d+)\)", line)
            assert address and port, line
            yield address[1] or address[2], int(port[1])

    def strangers(self) -> list[tuple[str, int]]:
        """Those of other machines, and name servers wherever they are."""
        return [
            (address, port)
            for address, port in self.addresses()
            if port == 53 or not ipaddress.ip_address(address).is_loopback
        ]

    def opened(self) -> Iterator[tuple[str, str]]:
        """Path and flags of each file that could be opened."""
        for line in self.lines:
            found = re.search(r'(?:openat2?|open|creat)\((?:[^"]*, )?"([^"]+)"(.*)\) = \d+', line)
            if found:
                yield found[1], "O_WRONLY|O_CREAT" if " creat(" in line else found[2]

    def written(self, folder: Path) -> set[Path]:
        """Each file that was opened for writing; relative ones were in that folder."""
        return {
            folder / path
            for path, flags in self.opened()
            if re.search("O_WRONLY|O_RDWR|O_CREAT", flags) and not NO_FILE.fullmatch(path)
        }

    def asks_for_names(self) -> bool:
        """Whether it looked for a name server."""
        return any(path == "/etc/resolv.conf" for path, _ in self.opened())


def run_traced(arguments: Sequence[str], folder: Path, before: str = "", **more: str) -> tuple[Trace, str]:
    """`edgeharfer` with these arguments, in the folder; what it did, and what it said.

    before: Python that runs first. more: of its environment.
    """
    log = folder.with_name(folder.name + ".strace")
    command = f"{prelude()}{before}\nfrom edgeharfer.cli import main; main()"
    done = subprocess.run(
        [*traced(log), sys.executable, "-B", "-c", command, *arguments], cwd=folder, text=True,
        capture_output=True, timeout=240,
        env={**environment(), "PYTHONPATH": paths(), "HOME": str(folder), **more},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Trace(log), done.stdout + done.stderr


def environment() -> dict[str, str]:
    """Of a device, where nothing says that this is a test: some libraries are quieter for one that is."""
    tests = ("CI", "PYTEST", "GITHUB_", "ORT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(tests)}


def paths() -> str:
    """As this process has them, for another folder."""
    return os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)

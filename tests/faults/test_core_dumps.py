"""A process that crashes leaves no picture behind: the run, and each process that it starts."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeharfer.cli
from edgeharfer.chaos.supervised import WatchedRun
from edgeharfer.runtime.child import child_command, child_environment
from mjpeg_server import MjpegServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the marks of Linux")

MARKS = """
import ctypes, resource
print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
"""Size of a core dump, and whether there is one at all (PR_GET_DUMPABLE)."""
PRODUCT = Path(edgeharfer.cli.__file__).parents[1]


@pytest.fixture(autouse=True)
def dumps_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As after `ulimit -c unlimited`, in a folder of its own, where dumps come to lie by default."""
    import resource

    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def marks(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=child_environment(), timeout=60
    )
    return done.stdout.strip()


def test_this_process_may_be_dumped() -> None:
    """Without which the other tests would show nothing."""
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1
    assert marks(sys.executable, "-c", MARKS).endswith(" 1")


def test_the_command_line_is_not_dumped() -> None:
    script = f"from edgeharfer import cli\ncli.run_command = lambda words: exec({MARKS!r}) or 0\ncli.main()"
    assert marks(sys.executable, "-c", script) == "0 0"
    assert marks(sys.executable, "-c", script, "--debug").endswith(" 1"), "for those who look for a defect"


def test_a_process_that_it_starts_is_not_dumped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text(MARKS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert marks(*child_command("told")) == "0 0"


def test_the_product_starts_its_processes_in_one_place() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PRODUCT.rglob("*.py")}
    for start in ('"-m"', "subprocess.Popen(", "create_subprocess_exec"):
        assert [name for name, text in texts.items() if start in text] == ["child.py"], start


def test_a_run_and_its_reader_crash_without_a_dump(tmp_path: Path) -> None:
    options = ["--action", "off", "--emotion", "off"]
    with MjpegServer() as server, WatchedRun(server.url, tmp_path / "events.jsonl", options) as run:
        reader = run.reader_pid()
        assert reader is not None
        for pid in (run.process.pid, reader):
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            assert next(line.split()[4] for line in limits if line.startswith("Max core file size")) == "0"
        os.kill(reader, signal.SIGSEGV)
        run.wait_for_state("live")
        os.kill(run.process.pid, signal.SIGABRT)
        assert run.process.wait(30) == -signal.SIGABRT
    assert [path.name for path in tmp_path.iterdir() if "core" in path.name] == []

"""Files that were damaged or made to do harm: each is used or refused by name, and nothing ever breaks."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fuzz_corpus import Corpus

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")

CHILD = Path(__file__).resolve().parents[1] / "fuzz_child.py"
HANG_S = 5.0
SILENCE_S = 30.0
"""Of a child that burns no time of its own, on a machine that may be busy."""
LARGEST_KB = 1 << 20
"""A child that has grown so large is replaced, so that each case has the same memory before it."""


class Server:
    """One child for many cases; a new one takes its place where it broke."""

    def __init__(self, corpus: Corpus, log: Path) -> None:
        self._log = log
        self._command = [sys.executable, str(CHILD), str(corpus.seeds["image"][0])]
        self._command += [str(corpus.emotion), str(corpus.action)]
        self._process: subprocess.Popen[str] | None = None
        self.starts = 0

    def ask(self, kind: str, path: Path) -> dict[str, Any]:
        """How a case went; without a "code" the child was lost."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it broke after its last answer
            process.stdin.write(json.dumps({"kind": kind, "path": str(path)}) + "\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], SILENCE_S)[0]:
            self.close()
            return {"hang": True}
        line = process.stdout.readline()
        if not line:
            self.close()
            return {"signal": -process.returncode, "trace": self._log.read_text()}
        found: dict[str, Any] = json.loads(line)
        if found["rss_kb"] > LARGEST_KB:
            self.close()
        return found

    def close(self) -> None:
        """End the child, if it lives."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError), self._process:
                self._process.kill()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self.starts += 1
        with self._log.open("w") as log:
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=self._log.parent,
            )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", self._log.read_text()
        return process


@dataclass
class Tally:
    """What became of the cases. broken: number and kind of each that did not end as it must, and why."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def add(self, number: int, kind: str, name: str, found: dict[str, Any]) -> None:
        outcome, why = judge(name, found)
        self.counts[outcome] += 1
        self.slowest_s = max(self.slowest_s, found.get("cpu_s", 0.0))
        if outcome not in ("used", "refused"):
            self.broken.append(f"case {number}, {kind}: {outcome}: {why}")


def judge(name: str, found: dict[str, Any]) -> tuple[str, str]:
    """The outcome of a case in a word, and what there is to say."""
    if found.get("hang") or found.get("cpu_s", 0.0) > HANG_S:
        return "hang", str(found)
    if "signal" in found:
        return "signal", f"{found['signal']}: {found['trace'][-3000:]}"
    if found["code"] == 0:
        return "used", ""
    if found["code"] != 2:
        return "traceback", found["trace"]
    return ("refused" if name in found["message"] else "unnamed"), found["message"]


def test_a_crash_and_a_defect_would_be_noticed(tmp_path: Path) -> None:
    server = Server(Corpus(tmp_path), tmp_path / "child.log")
    assert judge("x", server.ask("defect", tmp_path))[0] == "traceback"
    outcome, why = judge("x", server.ask("crash", tmp_path))
    assert outcome == "signal" and f"{int(signal.SIGABRT)}: " in why
    assert server.ask("kiosk", tmp_path / "none.toml")["code"] == 2
    assert server.starts == 2
    server.close()


@pytest.mark.parametrize("cases", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_file_breaks_anything(tmp_path: Path, cases: int, figures: Figures) -> None:
    """The seed of a case is its number: `Corpus(folder).case(number, folder)` makes it again."""
    corpus = Corpus(tmp_path)
    server, tally = Server(corpus, tmp_path / "child.log"), Tally()
    for number in range(cases):
        folder = tmp_path / "case"
        folder.mkdir()
        kind, path = corpus.case(number, folder)
        tally.add(number, kind, path.name, server.ask(kind, path))
        shutil.rmtree(folder)
    server.close()
    kinds = ("used", "refused", "unnamed", "signal", "hang", "traceback")
    counts = {kind: tally.counts[kind] for kind in kinds}
    figures(cases=cases, **counts, slowest_cpu_s=tally.slowest_s, children=server.starts)
    assert not tally.broken, "\n".join(tally.broken)
    assert counts["refused"] > cases / 4 and counts["used"] > cases / 50

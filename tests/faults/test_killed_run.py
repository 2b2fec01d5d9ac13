"""Runs that are killed outright, again and again: each line of events that was written stays, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the runs that it kills")

# One process loads the code and forks the runs; each writes on from the last whole line until it is killed.
PARENT = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Box, Emotion, Frame, TrackedFace

path, kills = Path(sys.argv[1]), int(sys.argv[2])
frame = Frame(0, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8))
happy = {"emotion": Emotion("happy", 1.0, {"happy": 1.0})}
faces = tuple(TrackedFace(n, Box(0, 0, 9, 9), 0.5, happy) for n in range(40))
random.seed(7)

def write_on():
    with EventsSink(path) as sink:
        count = path.read_bytes().count(b"\\n")
        print(json.dumps({"ready": time.perf_counter() - started}), flush=True)
        while True:
            sink.write(frame, Result(count, 0.0, 0.0, faces), Status())
            os.write(acknowledge, count.to_bytes(8, "big"))
            count += 1

for kill in range(kills):
    read, acknowledge = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(read)
        write_on()
    os.close(acknowledge)
    os.read(read, 8)
    time.sleep(random.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = b""
    while data := os.read(read, 1 << 16):
        said += data
    os.close(read)
    content = path.read_bytes()
    whole = content.count(b"\\n")
    if said and int.from_bytes(said[-8:], "big") >= whole:
        sys.exit(f"an acknowledged line is lost: {whole} lines")
    if random.random() < 0.5 and not content.endswith(b"\\n"):
        print(json.dumps({"torn": 1}), flush=True)
    elif random.random() < 0.5:  # tear the next line as a kill in the midst of a write does
        with path.open("ab") as file:
            file.write(b'{"kind":"result","seq":%d,"pts' % whole)
        print(json.dumps({"torn": 1}), flush=True)
"""


@pytest.mark.parametrize("kills", [30, pytest.param(200, marks=pytest.mark.soak)])
def test_no_line_is_lost_doubled_or_torn(tmp_path: Path, kills: int, figures: Figures) -> None:
    path = tmp_path / "events.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(path), str(kills)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    ready = [row["ready"] for row in told if "ready" in row]
    torn = sum("torn" in row for row in told)
    lines = path.read_bytes().split(b"\n")
    figures(kills=kills, torn=torn, ready_worst_s=max(ready), lines=len(lines))
    assert len(ready) == kills and torn > kills / 10
    assert [json.loads(line)["seq"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert max(ready) < 5

"""Measure one process with several live sources against one process for each of them.

python docs/cameras.py CLIP... [--cameras 8] [--seconds 30] [--mode MODE,...] [--json FILE]

The clips are encoded once as H.264 of 640x480 at 30 fps, as network cameras send it, and served over HTTP on
the loopback interface, each frame at its time and in an endless loop. The server is a process of its own,
whose processor time is not counted. Modes:

- together: one `edgeharfer run` with all sources;
- separate: one `edgeharfer run` for each source, at the same time;
- one: one `edgeharfer run` with one source;
- faults: like together, but the first source is killed, falls silent, repeats one picture, sends garbage and
  accepts connections without an answer, and returns after each of them; the figures are the rates of all
  sources in each phase, and by how much the rate of any other one falls.

Memory is that of the main processes (RSS) and of all processes (PSS, where shared pages count once).
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import av
import numpy as np

from edgeharfer.runtime.source import open_source

WIDTH, HEIGHT, FPS = 640, 480, 30
CLIP_S = 6
PLAY, SILENT, DOWN, FROZEN, GARBAGE, DEAF = range(6)
FAULTS = {"killed": DOWN, "silent": SILENT, "frozen": FROZEN, "garbage": GARBAGE, "deaf": DEAF}
"""What happens to the first source, by name. A deaf one accepts connections without an answer."""
WARM_UP_S = 12.0
"""Seconds from the start of the processes until memory is read for the first time."""
RETURN_S = 8.0
"""Time for a source to return: the longest pause between attempts to connect is 5 s."""
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: video/h264\r\n\r\n"


def encode(clip: Path) -> list[bytes]:
    """Return the data of each frame of a clip, which is repeated up to CLIP_S seconds."""
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.framerate, context.time_base, context.gop_size = FPS, Fraction(1, FPS), FPS
    context.bit_rate, context.max_b_frames = 2_000_000, 0
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
    pictures = []
    with open_source(clip) as source:
        while (frame := source.read()) is not None:
            pictures.append(frame.picture.resized(WIDTH, HEIGHT))
    pictures += pictures[-2:0:-1]  # forwards and backwards, so that the loop has no cut
    data = []
    for number, picture in enumerate(itertools.islice(itertools.cycle(pictures), CLIP_S * FPS)):
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "bgr24").reformat(format="yuv420p")
        image.pts = number
        data.append(b"".join(bytes(packet) for packet in context.encode(image)))
    return [one for one in data if one]


def serve(listeners: Sequence[socket.socket], films: Sequence[Sequence[bytes]], states: Any) -> None:
    """Send the film of each listener to its clients, frame by frame, until the process is ended."""
    selector = selectors.DefaultSelector()
    noise = np.random.default_rng(0)
    for number, listener in enumerate(listeners):
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, number)
    viewers = [Viewers() for _ in listeners]
    # The cameras are not synchronized.
    due = [time.monotonic() + number / len(listeners) / FPS for number in range(len(listeners))]
    counts = [0] * len(listeners)
    while True:
        for key, _ in selector.select(max(0.0, min(due) - time.monotonic())):
            client = key.fileobj.accept()[0]  # type: ignore[union-attr]
            viewers[key.data].join(client, states[key.data])
        for number, film in enumerate(films):
            if due[number] <= time.monotonic():
                due[number] += 1 / FPS
                count, state = counts[number], states[number]
                data = film[count % len(film)]
                if state == FROZEN:
                    data = film[0]  # a key frame
                elif state == GARBAGE:
                    data = noise.bytes(len(data))
                viewers[number].send(data, count % FPS == 0, state)
                counts[number] += 1


class Viewers:
    """The clients of one camera."""

    def __init__(self) -> None:
        self._waiting: list[socket.socket] = []  # for a key frame
        self._clients: list[socket.socket] = []

    def join(self, client: socket.socket, state: int) -> None:
        """Add a client."""
        client.settimeout(1.0)
        if state != DEAF:
            with suppress(OSError):
                client.sendall(HEAD)
        self._waiting.append(client)

    def send(self, data: bytes, key: bool, state: int) -> None:
        """Send a frame, or close the connections of a camera that is down or turns deaf."""
        if key and state != DEAF:
            self._clients += self._waiting
            self._waiting = []
        if state == DOWN or (state == DEAF and self._clients):
            for client in (*self._clients, *self._waiting):
                client.close()
            self._clients, self._waiting = [], []
        for client in list(self._clients) if state in (PLAY, FROZEN, GARBAGE) else ():
            try:
                client.sendall(data)
            except OSError:
                self._clients.remove(client)
                client.close()


def start(sources: Sequence[str], events: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `edgeharfer run` with these sources."""
    words = [word for source in sources for word in ("--source", source)]
    with events.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "edgeharfer", "run", *words, "--view", "none", "--events", "-", *options],
            stdout=file,
            start_new_session=True,
        )


def tree(pid: int) -> list[int]:
    """Return a process and its descendants, from /proc."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, its descendants, and those that have ended."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def memory_mb(pids: Sequence[int], key: str) -> float:
    """Return the sum of a value of smaps_rollup, such as "Rss" or "Pss", in MiB."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{key}:"))
    return total / 1024


def measure(groups: Sequence[Sequence[str]], seconds: float, options: Sequence[str]) -> dict[str, Any]:
    """Run one process for each group of sources, and return the figures.

    The processor time is that of `seconds` after WARM_UP_S, and of everything from start to end.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.jsonl") for number in range(len(groups))]
        runs = [start(group, file, options) for group, file in zip(groups, files, strict=True)]
        pids = [run.pid for run in runs]
        time.sleep(WARM_UP_S)
        before, started, seen = sum(map(cpu_s, pids)), time.monotonic(), [len(_lines(file)) for file in files]
        time.sleep(seconds)
        spent = time.monotonic() - started
        used = (sum(map(cpu_s, pids)) - before) / spent
        results = [line for file, count in zip(files, seen, strict=True) for line in _lines(file)[count:]]
        ages = sorted(line["age_ms"] for line in results if line["kind"] == "result")
        everything = [one for pid in pids for one in tree(pid)]
        memory = {
            "rss_mb_main": round(memory_mb(pids, "Rss")),
            "pss_mb_main": round(memory_mb(pids, "Pss")),
            "pss_mb_all": round(memory_mb(everything, "Pss")),
            "processes": len(everything),
        }
        whole = _stop(runs)
        summaries = [line for file in files for line in _lines(file) if line["kind"] == "summary"]
        last = [_lines(file)[-1] for file in files]
    parts = [line for line in summaries if "rss_mb" not in line] or summaries
    return {
        "cores": round(used, 3),
        "results_hz": round(len(ages) / spent, 1),
        "age_ms": {"p50": ages[len(ages) // 2], "p99": ages[int(0.99 * len(ages))]} if ages else {},
        "cpu_s_with_start": round(whole, 1),
        **memory,
        "rss_mb": [line["rss_mb"] for line in last],
        "sources": [_figures(line) for line in parts],
    }


def _stop(runs: Sequence[subprocess.Popen[bytes]]) -> float:
    """Stop the processes; return the processor time of all of them from start to end."""
    before = os.times()
    for run in runs:
        run.terminate()
    for run in runs:
        run.wait(20)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def _figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": summary.get("source", ""),
        "fps": summary["fps"],
        "dropped": summary["frames_dropped"],
        "looks_hz": summary["rates_hz"].get("faces"),
        "encoder_hz": summary["rates_hz"].get("actions"),
        "age_p99_ms": summary.get("age_ms", {}).get("p99"),
        "total_p99_ms": summary["latency_ms"]["total"]["p99"],
    }


def measure_faults(
    sources: Sequence[str], states: Any, seconds: float, options: Sequence[str]
) -> dict[str, Any]:
    """Run with all sources while the first one has each of FAULTS, and returns after each of them.

    Returns:
        The results a second of each source in each phase, and the largest share by which the rate of
        another source than the first one is below that before all faults.
    """
    rates: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "events.jsonl")
        run = start(sources, file, options)
        time.sleep(WARM_UP_S)
        rates["before"] = _rates(file, seconds)
        for name, state in FAULTS.items():
            states[0] = state
            time.sleep(1.0)
            rates[name] = _rates(file, seconds)
            states[0] = PLAY
            time.sleep(RETURN_S)
            rates[f"after {name}"] = _rates(file, seconds)
        _stop([run])
        first = next(line for line in _lines(file) if line["kind"] == "summary")
    others = [one for one in rates["before"] if not one.endswith("camera0")]
    falls = {
        name: round(max(1 - found.get(one, 0) / rates["before"][one] for one in others), 3)
        for name, found in rates.items()
    }
    return {"rates_hz": rates, "largest_fall_of_another": falls, "connection": first.get("connection")}


def _rates(file: Path, seconds: float) -> dict[str, float]:
    """Return the results a second of each source from now on."""
    seen, begun = len(_lines(file)), time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - begun
    found = [line["source"] for line in _lines(file)[seen:] if line["kind"] == "result"]
    return {name: round(count / spent, 2) for name, count in sorted(Counter(found).items())}


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="Of each mode, and of each phase of faults."
    )
    parser.add_argument("--mode", default="together,separate,one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--options", default="", help="Further options of `edgeharfer run` in one word.")
    given = parser.parse_args()
    films = [encode(clip) for clip in given.clips[: given.cameras]]
    films = list(itertools.islice(itertools.cycle(films), given.cameras))
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in films]
    sources = [f"http://127.0.0.1:{one.getsockname()[1]}/camera{n}" for n, one in enumerate(listeners)]
    states: SynchronizedArray[int] = multiprocessing.Array("i", len(films))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listeners, films, states))
    server.start()
    options = given.options.split()
    figures: dict[str, Any] = {"cameras": given.cameras}
    groups = {"together": [sources], "separate": [[one] for one in sources], "one": [sources[:1]]}
    try:
        for mode in given.mode.split(","):
            if mode == "faults":
                figures[mode] = measure_faults(sources, states, given.seconds, options)
            else:
                figures[mode] = measure(groups[mode], given.seconds, options)
            print(json.dumps({mode: figures[mode]}, indent=1), flush=True)
    finally:
        server.kill()
        server.join()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

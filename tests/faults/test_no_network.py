"""The whole product without a network, under strace: nothing is sent, no pixel reaches the disk unasked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.faces.detectors import DETECTORS
from edgeharfer.runtime.source.demo import DemoSource
from films import write_film
from kiosk_broker import free_port
from kiosk_process import KioskProcess
from mjpeg_server import wait_until
from traced import Trace, alone, prelude, run_traced, traced

Figures = Callable[..., None]

pytestmark = pytest.mark.needs("strace")

PICTURES = {
    "JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n", "GIF": b"GIF8", "WebP": b"WEBPVP8", "AVI": b"AVI LIST",
    "MP4": b"ftyp", "Matroska": b"\x1aE\xdf\xa3", "BMP header": b"BM\x36",
}  # fmt: skip

# MediaPipe brings a package that has the compiler look for a library, where there is a compiler; Python's
# tempfile tries its folder first.
# The comparison of INT8 on this device with the outputs of its package, which is made once.
COMPARED = re.compile(r"\.cache/edgeharfer/\.compared\.[0-9a-f-]+\.part\.json")
COMPILED = re.compile(r"cc\w{6}\.(res|ld|o|cdtor\.[co])|(tmp)?[a-z0-9_]{8}")

# A viewer on this machine, who takes a picture and the state and tells how much that was.
VIEWER = """
import threading, time, urllib.request
def _look():
    for _ in range(600):
        try:
            sizes = [len(urllib.request.urlopen("http://127.0.0.1:{port}/" + part, timeout=60).read())
                     for part in ("frame.jpg", "state.json", "")]
            return print("seen", *sizes, flush=True)
        except OSError:
            time.sleep(0.05)
_viewer = threading.Thread(target=_look)
_viewer.start()
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the demo."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    demo = DemoSource(SystemClock())
    return write_film(path, (demo.picture(number) for number in range(0, 60, 2)), 15.0, "MJPG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


def check(trace: Trace, folder: Path, *asked: str) -> None:
    """Nothing was sent anywhere else, and only what was asked for was written; none of it is a picture."""
    assert trace.lines, "strace has seen something"
    assert trace.strangers() == []
    assert not trace.asks_for_names()
    assert written(trace, folder) == {*asked}
    for path in folder.rglob("*"):
        assert not path.is_file() or pictures_in(path.read_bytes()) == [], path


def written(trace: Trace, folder: Path) -> set[str]:
    """The files that were written, without the record of compared packages."""
    paths = {os.path.relpath(path, folder) for path in trace.written(folder)}
    return {path for path in paths if not COMPARED.fullmatch(path)}


def pictures_in(data: bytes) -> list[str]:
    """What of a picture or film stands in there."""
    return [name for name, magic in PICTURES.items() if magic in data]


def results(path: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert rows[-1]["kind"] == "summary"
    return [row for row in rows if row["kind"] == "result"]


def test_the_demo_with_all_models_and_a_viewer(folder: Path, figures: Figures) -> None:
    port = free_port()
    arguments = ["run", "--source", "demo", "--pace", "realtime", "--duration", "4", "--view", "web",
                 "--port", str(port), "--events", "events.jsonl", "--stats", "stats.json"]  # fmt: skip
    trace, said = run_traced(arguments, folder, VIEWER.format(port=port))
    (part,) = [path.name for path in trace.written(folder) if path.name.startswith(".stats.")]
    check(trace, folder, "events.jsonl", part)
    seen = next(line for line in said.splitlines() if line.startswith("seen")).split()[1:]
    rows = results(folder / "events.jsonl")
    figures(network=not alone(), results=len(rows), picture_seen_bytes=int(seen[0]))
    assert all(int(size) > 100 for size in seen), "the page, the state and a picture"
    assert any(row["faces"] for row in rows)
    assert json.loads((folder / "stats.json").read_text())["models"]["action"]


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_clip_with_each_detector(folder: Path, clip: Path, detector: str) -> None:
    if detector == "mediapipe" and importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs the mediapipe extra")
    if detector == "haar" and not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no Haar cascades")
    arguments = ["run", "--source", str(clip), "--detector", detector, "--view", "none"]
    trace, _ = run_traced([*arguments, "--events", "e.jsonl"], folder)
    probes = [os.path.relpath(one, folder) for one in trace.written(folder) if COMPILED.fullmatch(one.name)]
    check(trace, folder, "e.jsonl", *(probes if detector == "mediapipe" else ()))
    rows = results(folder / "e.jsonl")
    assert len(rows) == 30
    assert any(row["faces"] for row in rows)


def test_a_video_is_kept_only_where_it_is_asked_for(folder: Path, clip: Path) -> None:
    arguments = ["run", "--source", str(clip), "--view", "none", "--save", "seen.avi", "--action", "off"]
    trace, _ = run_traced(arguments, folder)
    assert trace.strangers() == []
    (part,) = written(trace, folder)
    assert part.startswith(".seen.") and part.endswith(".part.avi")
    assert {path.name for path in folder.iterdir()} - {".cache"} == {"seen.avi"}
    assert pictures_in((folder / "seen.avi").read_bytes()), "the test knows pictures when it sees some"


def test_a_report_writes_its_folder_alone(folder: Path, clip: Path) -> None:
    for needed in ("pypdf", "reportlab"):
        pytest.importorskip(needed, reason="needs the report extra")
    matplotlib = pytest.importorskip("matplotlib", reason="needs the report extra")
    fonts = matplotlib.get_cachedir()  # its list of them, which takes it long to make
    trace, _ = run_traced(["analyze", str(clip), "--out", "report"], folder, MPLCONFIGDIR=fonts)
    assert trace.strangers() == []
    assert not trace.asks_for_names()
    elsewhere = {path for path in written(trace, folder) if not path.startswith("report")}
    assert elsewhere <= {f"{fonts}/matplotlib-lock"}
    assert any((folder / "report").rglob("summary.json"))


def test_the_kiosk_writes_its_state_alone(folder: Path, figures: Figures) -> None:
    pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    log = folder.with_name("kiosk.strace")
    more = "[mqtt]\nhost = '127.0.0.1'\nport = 9\n[decisions]\nmin_duration_s = 0.1\nmin_score = 0.1\n"
    with KioskProcess(
        folder, "demo", interval_s=10.0, wrapper=traced(log), prelude=prelude(), more=more,
        environment={"PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)},
    ) as kiosk:  # fmt: skip
        kiosk.wait_for_ping()
        wait_until(lambda: (kiosk.state / "outbox.db-wal").exists())
        child = traced_child(kiosk.process.pid)
        os.kill(child, 15)
        kiosk.process.communicate(timeout=60)
    trace = Trace(log)
    assert trace.strangers() == []
    assert not trace.asks_for_names()
    written = {os.path.relpath(path, folder) for path in trace.written(folder)}
    outbox = {f"state/outbox.db{suffix}" for suffix in ("", "-journal", "-wal", "-shm")}
    (starts,) = written - outbox - {"state/lock"}
    assert starts.startswith("state/.starts.") and starts.endswith(".part")
    assert pictures_in((folder / "state" / "outbox.db").read_bytes()) == []


def traced_child(pid: int) -> int:
    """The process that strace, or what comes before it, has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def test_strangers_are_seen(folder: Path) -> None:
    """The check itself: a connection and a question to a name server do not go by unnoticed."""
    before = (
        "import socket\nfor _port in (53, 80):\n    with socket.socket(type=socket.SOCK_DGRAM) as _link:\n"
        "        try: _link.sendto(b'x', ('192.0.2.1', _port))\n        except OSError: pass\n"
        "open('leak.bin', 'wb').write(bytes([255, 216, 255]))\n"
    )
    trace, _ = run_traced(["--help"], folder, before)
    assert trace.strangers() == [("192.0.2.1", 53), ("192.0.2.1", 80)]
    assert [path.name for path in trace.written(folder)] == ["leak.bin"]

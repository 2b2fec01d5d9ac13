"""What the fuzzer starts from: good files of every kind that the product reads, and cases made of them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import tiny_models
from edgeharfer.cli import run_command
from edgeharfer.kiosk.config import default_text
from edgeharfer.runtime.inference.package import MANIFEST
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Box, Emotion, Frame, TrackedFace
from films import write_film
from fuzz_mutate import mutate_bytes, mutate_graph, mutate_json, mutate_lines, mutate_toml

CONFIG = """# what `edgeharfer run` takes
detector = "blazeface"
provider = "cpu"
precision = "auto"
threads = 1
pace = "fast"
max-frames = 2
duration = 3.5
max-age-ms = 500
allow-fallback = false
fullscreen = false
prior = "package"
size = "64x48"
fps = 12
port = 0
"""
ENDINGS = ("png", "jpg", "bmp", "webp", "tiff", "ppm", "jp2", "pgm")
FILMS = {"avi": "MJPG", "mp4": "mp4v", "mkv": "mp4v", "webm": "VP90"}
KINDS = (
    *("graph", "manifest", "image", "config", "graph", "package", "recording", "kiosk", "graph", "image"),
    *("manifest", "video", "graph", "package", "recording", "config", "manifest", "kiosk", "image", "events"),
)
"""Which kind a case is of, by its number: the graphs, whose reader is the largest, come most often."""


class Corpus:
    """Good files below a folder, by kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emotion = tiny_models.emotion_package(folder / "emotion").path
        self.action = tiny_models.action_package(folder / "action").path
        head = tiny_models.lstm_head()
        graphs = {"head": head, "rolling": tiny_models.rolling(head)}
        self.rolling = tiny_models.action_package(folder / "rolling", graphs=graphs).path
        self.seeds: dict[str, list[Path]] = {
            "graph": [self.emotion, self.action, self.rolling],
            "package": [self.emotion, self.action, self.rolling],
            "manifest": [self.emotion, self.action, self.rolling],
            "config": [_written(folder / "run.toml", CONFIG)],
            "kiosk": [_written(folder / "kiosk.toml", default_text())],
            "events": [_events(folder / "events.jsonl")],
            "recording": [_recording(folder / "demo.rec", self.emotion, self.action)],
            "image": [_image(folder / f"picture.{ending}") for ending in ENDINGS],
            "video": [_film(folder / f"film.{ending}", codec) for ending, codec in FILMS.items()],
        }

    def case(self, number: int, folder: Path) -> tuple[str, Path]:
        """Kind and path of case `number`, made below `folder`: the same each time for the same number."""
        chance = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        seed = chance.choice(self.seeds[kind])
        target = folder / f"case{number:05d}{seed.suffix}"
        MAKE[kind](seed, target, chance)
        return kind, target


def _damaged_graph(seed: Path, target: Path, chance: random.Random) -> None:
    """A package whose author means harm: one graph is changed, and the manifest tells its size and hash."""
    shutil.copytree(seed, target)
    path = chance.choice(sorted(target.glob("*.onnx")))
    data = mutate_graph(path.read_bytes(), chance)
    path.write_bytes(data)
    manifest = json.loads((target / MANIFEST).read_text())
    for spec in manifest["files"]["fp32"].values():
        if spec["file"] == path.name:
            spec.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (target / MANIFEST).write_text(json.dumps(manifest))


def _damaged_package(seed: Path, target: Path, chance: random.Random) -> None:
    shutil.copytree(seed, target)
    path = chance.choice(sorted(target.iterdir()))
    path.write_bytes(mutate_bytes(path.read_bytes(), chance))


def _damaged_manifest(seed: Path, target: Path, chance: random.Random) -> None:
    shutil.copytree(seed, target)
    _rewrite(mutate_json)(seed / MANIFEST, target / MANIFEST, chance)


def _rewrite(mutate: Callable[[str, random.Random], str]) -> Callable[[Path, Path, random.Random], None]:
    def make(seed: Path, target: Path, chance: random.Random) -> None:
        text = mutate(seed.read_text(encoding="utf-8"), chance)
        target.write_bytes(text.encode(chance.choice(["utf-8", "utf-8", "latin-1"]), "replace"))

    return make


def _damaged_bytes(seed: Path, target: Path, chance: random.Random) -> None:
    target.write_bytes(mutate_bytes(seed.read_bytes(), chance))


MAKE: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "graph": _damaged_graph,
    "package": _damaged_package,
    "manifest": _damaged_manifest,
    "config": _rewrite(mutate_toml),
    "kiosk": _rewrite(mutate_toml),
    "events": _rewrite(mutate_lines),
    "recording": _rewrite(mutate_lines),
    "image": _damaged_bytes,
    "video": _damaged_bytes,
}


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def picture(width: int = 64, height: int = 48, phase: int = 0) -> np.ndarray:
    """Something with structure, so that compressed files hold something too."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 4 + phase, y * 5, (x ^ y) + phase]).astype(np.uint8)


def _image(path: Path) -> Path:
    shown = picture()
    assert cv2.imwrite(str(path), shown[..., 0] if path.suffix == ".pgm" else shown)
    return path


def _film(path: Path, codec: str) -> Path:
    return write_film(path, (picture(phase=number * 9) for number in range(12)), 12, codec)


def _events(path: Path) -> Path:
    face = TrackedFace(1, Box(1, 2, 9, 9), 0.5, {"emotion": Emotion("happy", 1.0, {"happy": 1.0})})
    frame = Frame(0, 0.0, 0.0, picture())
    with EventsSink(path) as sink:
        for number in range(5):
            sink.write(frame, Result(number, number / 5, 1.0, (face,)), Status())
    return path


def _recording(path: Path, emotion: Path, action: Path) -> Path:
    options = ["--emotion", str(emotion), "--action", str(action), "--record", str(path), "--view", "none"]
    assert run_command(["run", "--source", "demo", "--pace", "fast", "--duration", "1.5", *options]) == 0
    return path

"""What the reading thread computes in advance for frames of a file, and that no result depends on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.tasks.encoders import PictureEncoder
from edgeharfer.runtime.types import Box, Face, Floats, Frame, Image
from media_clips import encode_clip

POINTS = np.array([(10, 15), (20, 15), (15, 20), (15, 25), (5, 15), (25, 15)], np.float32)
B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal:keyint=60"}
MAIN = threading.main_thread()


class OneFace(Detector):
    """Finds one face, whose place follows from the brightness of the picture."""

    provider = "test"

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        shift = float(bgr.mean()) / 16
        return [Face(Box(10 + shift, 8, 30, 30), 0.9, POINTS + np.array((10 + shift, 8), np.float32))]


@dataclass
class Encoded:
    """Counts the encoded pictures by thread, and fails on request in others than the main thread."""

    error: Callable[[], BaseException] | None = None
    in_main: list[Picture] = field(default_factory=list)
    ahead: list[Picture] = field(default_factory=list)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Encoded:
    seen = Encoded()
    encode = PictureEncoder.encode

    def spy(self: PictureEncoder, picture: Picture) -> Floats:
        in_main = threading.current_thread() is MAIN
        (seen.in_main if in_main else seen.ahead).append(picture)
        if seen.error is not None and not in_main:
            raise seen.error()
        return encode(self, picture)

    monkeypatch.setattr(PictureEncoder, "encode", spy)
    return seen


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("packages")
    emotion = tiny_models.emotion_package(folder / "emotion", threshold=0.0)
    with Pipeline(
        action=tiny_models.action_package(folder / "action"), emotion=emotion, detector=OneFace()
    ) as made:
        yield made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with B-frames and a cut in the middle."""
    random = np.random.default_rng(1)
    shades = [random.integers(0, 200, (12, 20, 3)) * np.roll((1.0, 0.6, 0.2), n) for n in range(2)]
    textures = [cv2.resize(shade.astype(np.uint8), (160, 96)) for shade in shades]
    pictures = [np.roll(textures[n // 45], n, axis=1) + np.uint8(n // 3) for n in range(90)]
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return encode_clip(path, pictures, rate=30, options=B_FRAMES)


def told(results: Iterator[Result]) -> list[tuple[Any, ...]]:
    return [({**one.to_dict(), "age_ms": 0}, one.cut, dict(one.updates)) for one in results]


def one_by_one(pipeline: Pipeline, clip: Path) -> list[tuple[Any, ...]]:
    """Results of `Pipeline.process` without a reading thread."""
    pipeline.reset(renumber=True)
    with open_source(clip) as source:
        return told(pipeline.process(frame) for frame in iter(source.read, None))


def waiting(pipeline: Pipeline, source: Source) -> Iterator[Result]:
    """Process each frame only when the reading thread waits again, with six frames in the queue."""
    pipeline.reset(renumber=True)
    last, changed, waits = (source.frame_count or 0) - 1, threading.Condition(), 0

    def precompute(frame: Frame, previous_s: float) -> None:
        nonlocal waits
        pipeline.precompute(frame, previous_s)
        with changed:
            waits = frame.seq
            changed.notify()

    with Capture(source, pace="fast", precompute=precompute) as capture:
        for frame in capture:
            with changed:
                assert changed.wait_for(lambda: waits >= min(frame.seq + 7, last), 20)  # noqa: B023
            yield pipeline.process(frame)


def test_results_are_the_same_with_and_without_frames_encoded_in_advance(
    pipeline: Pipeline, clip: Path, encoded: Encoded
) -> None:
    expected = one_by_one(pipeline, clip)
    samples = len(encoded.in_main)
    assert [cut for _, cut, _ in expected].count(True) == 1 and not encoded.ahead
    encoded.in_main.clear()
    assert told(waiting(pipeline, open_source(clip))) == expected
    assert len(encoded.ahead) > samples / 2
    assert len(encoded.in_main) < samples / 2, "the others were taken from the reading thread"


def test_results_are_the_same_where_frames_are_skipped(
    pipeline: Pipeline, clip: Path, encoded: Encoded
) -> None:
    expected = one_by_one(pipeline, clip)
    pipeline.reset(renumber=True)
    assert told(pipeline.run(open_source(clip))) == expected


@pytest.mark.parametrize("error", [partial(ModelError, "encoder: cannot run"), KeyboardInterrupt])
def test_what_fails_in_the_reading_thread_is_done_again(
    pipeline: Pipeline, clip: Path, encoded: Encoded, error: Callable[[], BaseException]
) -> None:
    """An error that lasts is then reported as without that thread; a cancelled call belongs to a stop."""
    expected = one_by_one(pipeline, clip)
    encoded.error = error
    assert told(waiting(pipeline, open_source(clip))) == expected
    assert encoded.ahead
    assert {id(one) for one in encoded.ahead[:-1]} <= {id(one) for one in encoded.in_main}


def test_features_are_kept_no_longer_than_their_picture(pipeline: Pipeline, clip: Path) -> None:
    kept = pipeline.task_models["action"]._precomputed  # type: ignore[attr-defined]
    for _ in waiting(pipeline, open_source(clip)):
        assert len(kept) <= 7
    pipeline.reset()
    assert not kept


class Pictures(Source):
    """Twenty pictures of one size."""

    def __init__(self, width: int, height: int) -> None:
        self.name, self.given, self._bgr = "pictures", 0, np.zeros((height, width, 3), np.uint8)

    def read(self) -> Frame | None:
        self.given += 1
        return Frame(self.given, self.given / 30, 0.0, self._bgr) if self.given <= 20 else None


@pytest.mark.parametrize(("size", "ahead"), [((640, 480), 7), ((1280, 720), 5), ((3840, 2160), 3)])
def test_fewer_large_pictures_are_read_ahead(size: tuple[int, int], ahead: int) -> None:
    source, most = Pictures(*size), 0
    with Capture(source, pace="fast", precompute=lambda frame, previous_s: None) as capture:
        for taken, _ in enumerate(capture, start=1):
            most = max(most, source.given - taken)
    assert most <= ahead


def test_nothing_is_computed_in_advance_in_real_time(
    pipeline: Pipeline, clip: Path, encoded: Encoded
) -> None:
    pipeline.reset()
    with Capture(open_source(clip), pace="realtime", precompute=pipeline.precompute) as capture:
        for frame in capture:
            pipeline.process(frame)
            if frame.pts_s > 0.3:
                break
    assert encoded.in_main and not encoded.ahead


def test_a_model_with_a_memory_encodes_frames_in_their_order(
    pipeline: Pipeline, clip: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.task_models["action"]._encoder, "memoryless", False)  # type: ignore[attr-defined]
    list(waiting(pipeline, open_source(clip)))
    assert encoded.in_main and not encoded.ahead

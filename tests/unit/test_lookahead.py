"""Frames that nobody looks at are neither converted nor decoded, and the results stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.inputs import SourceSpec
from edgeharfer.runtime.lookahead import LAG_FRAMES, DetectionPlan, Lookahead, Plan, SampleGrid
from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.run import RunOptions, run
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks.base import Reading, Task
from edgeharfer.runtime.types import Box, Face, Frame, Image, TrackedFace
from media_clips import encode_clip

POINTS = np.array([(10, 15), (20, 15), (15, 20), (15, 25), (5, 15), (25, 15)], np.float32)
B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal:keyint=60"}
H264: dict[str, Any] = {"options": B_FRAMES}


class OneFace(Detector):
    """Finds one face, whose place follows from the brightness of the picture."""

    provider = "test"

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        shift = float(bgr.mean()) / 16
        return [Face(Box(10 + shift, 8, 30, 30), 0.9, POINTS + np.array((10 + shift, 8), np.float32))]


class CountedPicture(BgrPicture):
    """Notes which forms of it were asked for."""

    def __init__(self, bgr: Image) -> None:
        super().__init__(bgr)
        self.forms: set[str] = set()

    @property
    def bgr(self) -> Image:
        self.forms.add("bgr")
        return super().bgr

    def resized(self, width: int, height: int) -> Image:
        self.forms.add("resized")
        return BgrPicture(self._bgr).resized(width, height)

    def sampled_grey(self, width: int, height: int) -> Image:
        self.forms.add("sampled grey")
        return BgrPicture(self._bgr).sampled_grey(width, height)


class Nothing(Task):
    name, scope = "nothing", "scene"

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        return None


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("packages")
    emotion = tiny_models.emotion_package(folder / "emotion", threshold=0.0)
    return {"action": tiny_models.action_package(folder / "action"), "emotion": emotion}


def moving(count: int, scenes: int = 1) -> list[Image]:
    """Pictures of a moving texture that get brighter, another one with other colours in each scene."""
    random = np.random.default_rng(1)
    shades = [random.integers(0, 200, (12, 20, 3)) * np.roll((1.0, 0.6, 0.2), n) for n in range(scenes)]
    textures = [cv2.resize(shade.astype(np.uint8), (160, 96)) for shade in shades]
    return [
        np.roll(textures[n * scenes // count], n, axis=1) + np.uint8(40 * n / count) for n in range(count)
    ]


def told(results: Iterator[Result] | Sequence[Result]) -> list[tuple[Any, ...]]:
    return [({**one.to_dict(), "age_ms": 0}, one.cut, dict(one.updates)) for one in results]


def test_a_picture_that_no_task_looks_at_is_not_converted(packages: dict[str, Any]) -> None:
    pipeline = Pipeline(**packages, detector=OneFace(), clock=ManualClock())
    pictures = [CountedPicture(image) for image in moving(30)]
    results = [pipeline.process(Frame(n, n / 30, 0.0, one)) for n, one in enumerate(pictures)]
    looks = [set(result.stages_ms) & {"detect", "encode"} for result in results]
    assert [one for one in looks if not one] and {"encode"} in looks and {"detect"} in looks
    for picture, stages in zip(pictures, looks, strict=True):
        forms = {"sampled grey"} | ({"bgr"} if "detect" in stages else set())
        assert picture.forms == forms | ({"resized"} if "encode" in stages else set())


@pytest.mark.parametrize(
    ("fps", "encoding"), [(25, H264), (30, H264), (30, {"codec": "mjpeg", "pixel_format": "yuvj420p"})]
)
def test_results_are_the_same_whether_frames_are_skipped_or_not(
    packages: dict[str, Any], tmp_path: Path, fps: int, encoding: dict[str, Any]
) -> None:
    path = encode_clip(tmp_path / "a.mov", moving(3 * fps, scenes=2), rate=fps, **encoding)
    pipeline = Pipeline(**packages, detector=OneFace())
    seen: list[Frame] = []
    process = pipeline.process
    pipeline.process = lambda frame: seen.append(frame) or process(frame)  # type: ignore[func-returns-value, method-assign, assignment, arg-type]
    expected = told([result for _, result in pipeline.frames(open_source(path))])
    assert all(frame.decoded for frame in seen) and len(seen) == 3 * fps
    assert [cut for _, cut, _ in expected].count(True) == 1
    seen.clear()
    pipeline.reset(renumber=True)
    assert told(pipeline.run(open_source(path))) == expected
    assert len(seen) == 3 * fps and any(not frame.decoded for frame in seen)


def test_extra_tasks_see_every_frame(packages: dict[str, Any], tmp_path: Path) -> None:
    path = encode_clip(tmp_path / "a.mp4", moving(8), options=B_FRAMES)
    source = open_source(path)
    assert len(list(Pipeline(**packages, detector=OneFace(), extra_tasks=[Nothing()]).run(source))) == 8
    assert source.wanted is None


@pytest.mark.parametrize(("targets", "skips"), [({"events": "a.jsonl"}, True), ({"save": "a.avi"}, False)])
def test_nothing_is_skipped_where_pictures_are_saved(
    packages: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    targets: dict[str, str],
    skips: bool,
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Pipeline, "skip_unneeded", lambda self, source: asked.append(source))
    path = encode_clip(tmp_path / "a.mp4", moving(8), options=B_FRAMES)
    options = RunOptions(
        [SourceSpec(str(path))],
        pipeline={**packages, "detector": OneFace()},
        view="none",
        targets={name: str(tmp_path / file) for name, file in targets.items()},
    )
    run(options, stopping=lambda: False, report=lambda line: None)
    assert bool(asked) is skips


def test_a_frame_is_needed_if_it_is_the_first_at_a_point_of_a_grid() -> None:
    plan = Plan(DetectionPlan(0.0, 9.0, (9.0,)), (SampleGrid(0.0, 0.125),))
    times = [n / 25 for n in range(14)]
    needed = [n for n in range(1, 14) if plan.may_include(times[: n + 1])]
    assert needed == [4, 7, 10, 13]


def test_later_detections_follow_from_each_other() -> None:
    """Detections are 3 or 5 frames apart; the next one is known to be after 5 frames."""
    plan = Plan(DetectionPlan(0.0, 0.198, (0.098, 0.198)), ())
    times = [n / 25 for n in range(14)]
    needed = [n for n in range(1, 14) if plan.may_include(times[: n + 1])]
    assert needed == [5, 8, 10, 11, 13]


def test_what_is_not_planned_is_needed() -> None:
    assert Plan(None, ()).may_include([0.0, 0.04])
    assert Plan(DetectionPlan(0.0, 1.0, (1.0,)), None).may_include([0.0, 0.04])


def test_frames_that_were_decoded_without_need_are_ignored() -> None:
    """Because the pipeline was late with its plan, for instance: the results must not depend on that."""
    lookahead = Lookahead(fps=10.0)
    picture: Picture = BgrPicture(np.zeros((4, 6, 3), np.uint8))
    frames = [Frame(n, n / 10, 0.0, picture) for n in range(LAG_FRAMES + 2)]
    for frame in frames:
        lookahead.announce(frame.pts_s, key=False)
    assert lookahead.wanted(frames[-1].pts_s)
    plan = Plan(DetectionPlan(0.0, 9.0, (9.0,)), (SampleGrid(0.0, 9.0),))
    received = []
    for frame in frames:
        received.append(lookahead.filtered(frame))
        lookahead.publish(frame.pts_s, plan)
    assert [frame.decoded for frame in received] == [True] * (len(frames) - 1) + [False]
    assert received[-1].size == (6, 4)
    assert not lookahead.wanted(frames[-1].pts_s), "now the plan is known"
    lookahead.stop()
    assert lookahead.wanted(frames[-1].pts_s)

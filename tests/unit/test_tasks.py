"""Tasks: what they say stands for as long as it is promised, and one that fails is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, TaskError
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.inference.backend import CPU
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.tasks import EXTRA_TASKS, PACKAGE_TASKS, TASKS, make_task
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.types import Box, Face, Frame, Image, Reading, TrackedFace

PICTURE = np.zeros((60, 320, 3), np.uint8)
POINTS = np.array([(10, 15), (20, 15), (15, 20), (15, 25), (5, 15), (25, 15)], np.float32)


class Row(Detector):
    """A detector that sees a row of faces; how many is said by frame."""

    provider = "test"

    def __init__(self, *counts: int) -> None:
        self._counts = list(counts)

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        count = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        return [
            Face(Box(60 * n, 10, 30, 30), 0.9 - n / 100, POINTS + np.array((60 * n, 10), np.float32))
            for n in range(count)
        ]


class Whole(Perception):
    """Looks at the whole frame each time; another scene begins with frame 3 where `cut_at` says so."""

    cut_at = -1

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        return self.detector.detect(frame.bgr)

    def is_cut(self, frame: Frame) -> bool:
        return frame.seq == self.cut_at


class CutAtThree(Whole):
    cut_at = 3


class Scripted(Task):
    """Returns scripted readings, frame by frame, and records the calls."""

    def __init__(self, name: str, scope: str, said: Iterable[Any] | Callable[..., Any]) -> None:
        self.name, self.scope = name, scope
        self._said = said if callable(said) else iter(said)
        self.calls: list[str] = []
        self.faces: list[tuple[TrackedFace, ...]] = []

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Any:
        self.calls.append(f"step {frame.seq}")
        self.faces.append(tuple(faces))
        return self._said(frame, faces) if callable(self._said) else next(self._said)

    def reset(self) -> None:
        self.calls.append("reset")

    def close(self) -> None:
        self.calls.append("close")


def make(*tasks: Task, detector: Row | None = None, **options: Any) -> Pipeline:
    known: dict[str, Any] = {"action": None, "emotion": None, "perception": Whole, "face_interval_s": 0.0}
    return Pipeline(
        detector=detector or Row(1), extra_tasks=tasks, clock=ManualClock(), **{**known, **options}
    )


def play(pipeline: Pipeline, frames: int, *, still: bool = False) -> list[Result]:
    return [pipeline.process(Frame(n, n / 3, 0.0, PICTURE, still)) for n in range(frames)]


def values(readings: Mapping[str, Reading], name: str) -> Mapping[str, float] | None:
    return readings[name].values if name in readings else None


ONE, TWO = Reading(values={"n": 1.0}), Reading(values={"n": 2.0})


def test_a_reading_of_the_scene_stands_until_another_one_comes() -> None:
    results = play(make(Scripted("count", "scene", [None, ONE, None, TWO, None])), 5)
    assert [values(result.readings, "count") for result in results] == [
        None, {"n": 1.0}, {"n": 1.0}, {"n": 2.0}, {"n": 2.0}
    ]  # fmt: skip
    assert ["count" in result.stages_ms for result in results] == [False, True, False, True, False]


def test_a_reading_of_a_face_stands_until_its_track_ends() -> None:
    """The face is away in two frames, which is not long enough to lose its track, and then for ever."""
    said = [{1: ONE}, None, None, None, *[None] * 12]
    detector = Row(1, 1, 0, 1, *[0] * 8, 1)
    results = play(make(Scripted("mood", "face", said), detector=detector), 14)
    found = [[(face.track, values(face.readings, "mood")) for face in result.faces] for result in results]
    assert found[:4] == [[(1, {"n": 1.0})], [(1, {"n": 1.0})], [], [(1, {"n": 1.0})]]
    assert found[-1] == [(2, None)]


def test_readings_of_tracks_out_of_view_are_ignored() -> None:
    pipeline = make(Scripted("mood", "face", [{1: ONE, 7: TWO, np.int64(2): TWO}]), detector=Row(2))
    [result] = play(pipeline, 1)
    assert [values(face.readings, "mood") for face in result.faces] == [{"n": 1.0}, {"n": 2.0}]


def test_a_cut_resets_tasks_and_nothing_is_carried_over() -> None:
    scene, face = Scripted("a", "scene", [ONE, *[None] * 4]), Scripted("b", "face", [{1: TWO}, *[None] * 4])
    results = play(make(scene, face, perception=CutAtThree), 5)
    assert [values(result.readings, "a") for result in results] == [{"n": 1.0}] * 3 + [None] * 2
    assert [values(result.faces[0].readings, "b") for result in results] == [{"n": 2.0}] * 3 + [None] * 2
    assert scene.calls == face.calls == ["step 0", "step 1", "step 2", "reset", "step 3", "step 4"]


def test_photographs_have_nothing_in_common() -> None:
    task = Scripted("a", "scene", [ONE, None])
    results = play(make(task), 2, still=True)
    assert [values(result.readings, "a") for result in results] == [{"n": 1.0}, None]
    assert task.calls == ["reset", "step 0", "reset", "step 1"]


def test_a_film_after_a_photograph_starts_afresh() -> None:
    task = Scripted("a", "scene", [ONE, None])
    pipeline = make(task)
    pipeline.process(PICTURE)
    result = pipeline.process(Frame(0, 0.0, 0.0, PICTURE))
    assert not result.readings and result.faces[0].track == 2


def test_another_source_resets_tasks_and_closing_closes_them() -> None:
    task = Scripted("a", "scene", [ONE, None])
    with make(task) as pipeline:
        play(pipeline, 1)
        pipeline.reset()
        assert not play(pipeline, 1)[0].readings
    assert task.calls == ["step 0", "reset", "step 0", "close"]


def test_tasks_see_what_those_before_them_said_of_this_frame() -> None:
    first, second = Scripted("a", "face", [{1: ONE}]), Scripted("b", "face", [{1: TWO}])
    last = Scripted("c", "scene", [None])
    play(make(first, second, last), 1)
    assert [set(task.faces[0][0].readings) for task in (first, second, last)] == [set(), {"a"}, {"a", "b"}]


def test_a_face_tells_where_and_when_the_detector_saw_it() -> None:
    task = Scripted("a", "face", [None] * 3)
    play(make(task, face_interval_s=0.5), 3)
    assert [faces[0].seen_s for faces in task.faces] == [0.0, 0.0, pytest.approx(2 / 3)]
    points = task.faces[0][0].keypoints
    assert points is not None and points.tolist() == (POINTS + np.array((0, 10), np.float32)).tolist()


def test_a_disabled_task_is_left_out_until_it_is_enabled() -> None:
    scene, face = Scripted("a", "scene", [ONE, None]), Scripted("b", "face", [{1: TWO}, None])
    pipeline = make(scene, face)

    def readings(seq: int) -> tuple[set[str], set[str]]:
        result = pipeline.process(Frame(seq, seq / 3, 0.0, PICTURE))
        return set(result.readings), set(result.faces[0].readings)

    assert readings(0) == ({"a"}, {"b"})
    pipeline.disable("a")
    pipeline.disable("b")
    assert readings(1) == readings(2) == (set(), set())
    pipeline.enable("a")
    assert readings(3) == (set(), set())
    assert scene.calls == ["step 0", "reset", "step 3"] and face.calls == ["step 0"]


def test_a_task_that_is_not_there_cannot_be_disabled() -> None:
    pipeline = make(Scripted("a", "scene", []))
    for method in (pipeline.disable, pipeline.enable):
        with pytest.raises(TaskError, match="the pipeline has no task 'emotion'; it has a"):
            method("emotion")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "action": tiny_models.action_package(tmp_path_factory.mktemp("action")),
        "emotion": tiny_models.emotion_package(tmp_path_factory.mktemp("emotion"), threshold=0.0),
    }


def test_emotions_and_actions_are_tasks_like_others(packages: dict[str, Any]) -> None:
    task = Scripted("own", "scene", [ONE])
    [result] = play(make(task, **packages), 1)
    assert list(result.readings) == ["action", "own"]
    assert result.readings["action"] is result.action
    [face] = result.faces
    assert face.readings["emotion"] is face.emotion
    assert face.emotion is not None and face.emotion.score == max(face.emotion.probs.values())
    assert set(task.faces[0][0].readings) == {"emotion"}


def test_the_json_line_has_each_task_under_its_name(packages: dict[str, Any]) -> None:
    wide = Reading("wide", {"wide": 0.7, "narrow": 0.3})
    own = Scripted("own", "scene", [Reading(values={"a": 1.23456, "b": float("nan")})])
    line = play(make(own, Scripted("width", "face", [{1: wide}]), **packages), 1)[0].to_dict()
    assert list(line) == ["kind", "seq", "pts_s", "age_ms", "action", "own", "faces"]
    assert line["own"] == {"values": {"a": 1.2346, "b": None}}
    [face] = line["faces"]
    assert list(face) == ["track", "box", "score", "emotion", "width"]
    assert face["width"] == {"label": "wide", "score": 0.7, "probs": {"wide": 0.7, "narrow": 0.3}}


def test_without_emotions_and_actions_their_keys_are_null() -> None:
    line = play(make(), 1)[0].to_dict()
    assert line["action"] is None and line["faces"][0]["emotion"] is None


@pytest.mark.parametrize(
    ("reading", "score"),
    [
        (Reading("a", {"a": 0.4, "b": 0.6}), 0.4),
        (Reading("uncertain", {"a": 0.4, "b": 0.6}), 0.6),
        (Reading(probs={"a": 1.0}), 1.0),
        (Reading("a"), None),
        (Reading(values={"a": 1.0}), None),
    ],
)
def test_the_score_of_a_reading(reading: Reading, score: float | None) -> None:
    assert reading.score == score


def fail(frame: Frame, faces: Sequence[TrackedFace]) -> Reading:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("scope", "said", "message"),
    [
        ("scene", fail, "task own: step failed: ZeroDivisionError: division by zero"),
        ("scene", [{1: ONE}], "task own: step returned a dict, not a Reading or None"),
        (
            "face",
            [ONE],
            "task own: step returned a Reading, not a mapping of track number to Reading or None",
        ),
        ("face", [{1: 0.5}], "task own: step returned a float for track 1, not a Reading"),
        ("scene", [Reading(cast(Any, 3))], "task own: the label 3 is not a string"),
        (
            "scene",
            [Reading(probs={"a": float("nan")})],
            "task own: the probability of 'a' is nan, not a finite number of at least 0",
        ),
        (
            "face",
            [{1: Reading(values={"a": cast(Any, "b")})}],
            "task own: the value 'a' is a str, not a number",
        ),
        ("face", [{"1": ONE}], "task own: step returned a reading for '1', which is not a track number"),
    ],
)
def test_a_task_that_fails_is_named(scope: str, said: Any, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        play(make(Scripted("own", scope, said)), 1)
    assert str(caught.value) == message


def test_a_task_that_cannot_be_reset_is_named() -> None:
    class Stubborn(Scripted):
        def reset(self) -> None:
            raise RuntimeError

    with pytest.raises(TaskError, match="task own: reset failed: RuntimeError"):
        make(Stubborn("own", "scene", [])).reset()


class Half:
    name, scope = "half", "scene"

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> None: ...


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Scripted("a", "scene", []), Scripted("a", "face", [])], "two tasks named 'a'"),
        ([Scripted("emotion", "face", [])], "two tasks named 'emotion'"),
        ([Scripted("faces", "scene", [])], "invalid task name 'faces'"),
        ([Scripted("total", "scene", [])], "invalid task name 'total'"),
        ([Scripted("two words", "scene", [])], "invalid task name 'two words'"),
        ([object()], "object: invalid task name None"),
        ([Scripted("a", "frame", [])], "task a: scope must be 'scene' or 'face'"),
        ([Half()], "task half: missing method reset and close"),
    ],
)
def test_what_is_no_task_is_refused(tasks: list[Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        make(*tasks)


def test_the_registry_makes_what_it_names() -> None:
    assert set(PACKAGE_TASKS) | set(EXTRA_TASKS) == set(TASKS)
    for name in EXTRA_TASKS:
        assert make_task(name, CPU).name == name
    for wrong in ("emotion", "nothing"):
        with pytest.raises(ConfigError, match=f"task '{wrong}' cannot be added.*headpose") as caught:
            make_task(wrong, CPU)
        assert isinstance(caught.value, EdgeharferError)

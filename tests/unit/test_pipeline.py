"""The pipeline: whose turn it is, in which frame. With a detector that sees what it is told to."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime import pipeline as pipeline_module
from edgeharfer.runtime import tasks
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.recording import recorder
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.schedule import SamplingSchedule
from edgeharfer.runtime.tasks import TaskEntry
from edgeharfer.runtime.tasks.emotion import EmotionModel, EmotionTask
from edgeharfer.runtime.tasks.packaged import Inference
from edgeharfer.runtime.types import Box, Face, Frame, Image

POINTS = np.array([(10, 15), (20, 15), (15, 20), (15, 25), (5, 15), (25, 15)], np.float32)


class Crowd(Detector):
    """A detector of faces in a row, moving to the right."""

    provider = "test"

    def __init__(self, count: int) -> None:
        self.count, self.shift = count, 0.0

    def warm_up(self) -> None: ...

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        if region is not None:
            return []
        lefts = [40 * n + self.shift for n in range(self.count)]
        return [
            Face(Box(left, 10, 30, 30), 0.9 - n / 100, POINTS + np.array((left, 10), np.float32))
            for n, left in enumerate(lefts)
        ]


class Turns(Perception):
    """Notes in which frame which places were looked at."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.turns: list[list[int]] = []

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        return self.detector.detect(frame.bgr)

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        self.turns.append([round(face.box.x) for face in faces])
        return super().classify_faces(task, frame, faces)


@pytest.fixture(scope="module")
def emotion(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_models.emotion_package(tmp_path_factory.mktemp("emotion"), threshold=0.0)


def play(
    emotion: Package,
    crowd: Crowd,
    frames: int,
    *,
    still: bool = False,
    live: bool = True,
    action: Package | None = None,
    **options: Any,
) -> tuple[list[Result], list[list[int]]]:
    made: list[Turns] = []

    def perception(*parts: Any) -> Turns:
        made.append(Turns(*parts))
        return made[0]

    pipeline = Pipeline(
        action=action, emotion=emotion, detector=crowd, perception=perception, clock=ManualClock(), **options
    )
    if live:
        pipeline.set_real_time()
    picture = np.zeros((60, 640, 3), np.uint8)
    results = [pipeline.process(Frame(n, n / 30, 0.0, picture, still)) for n in range(frames)]
    return results, made[0].turns


def test_faces_have_their_turn_one_in_each_frame(emotion: Package) -> None:
    _, turns = play(emotion, Crowd(6), 12)
    assert turns == [[40 * n] for n in (0, 1, 2, 3, 4, 5)] * 2


def test_a_few_faces_are_looked_at_once_after_each_look(emotion: Package) -> None:
    """Ten looks a second are one in three frames."""
    _, turns = play(emotion, Crowd(2), 9)
    assert turns == [[0], [40]] * 3


def test_a_face_that_keeps_still_is_looked_at_less_once_it_is_known(emotion: Package) -> None:
    results, turns = play(emotion, Crowd(1), 45)
    looks = [n for n, result in enumerate(results) if "detect" in result.stages_ms]
    assert looks == [0, 3, 6, 9, 12, 15, 21, 27, 33, 39]
    assert len(turns) == len(looks)


def test_one_face_is_looked_at_in_the_frame_that_shows_it(emotion: Package) -> None:
    results, turns = play(emotion, Crowd(1), 6)
    assert turns == [[0]] * 2
    assert ["emotion" in result.stages_ms for result in results] == [True, False, False] * 2


def test_thirty_faces_leave_the_actions_alone(emotion: Package, tmp_path: Path) -> None:
    """No frame has more than one face's work, and pictures are encoded at the very times as with one face."""
    action = tiny_models.action_package(tmp_path / "action")
    one, _ = play(emotion, Crowd(1), 60, action=action)
    many, turns = play(emotion, Crowd(30), 60, action=action)
    assert [len(turn) for turn in turns] == [1] * 60
    assert len({turn[0] for turn in turns}) == 30
    encoded = [[n for n, result in enumerate(run) if "encode" in result.stages_ms] for run in (one, many)]
    assert encoded[0] == encoded[1]
    assert len(encoded[1]) == 8  # Four pictures a second, for two seconds.
    assert [result.action for result in one] == [result.action for result in many]


def test_before_its_turn_nothing_is_said_of_a_face(emotion: Package) -> None:
    results, _ = play(emotion, Crowd(2), 2)
    first, second = ([face.emotion for face in result.faces] for result in results)
    assert first[0] is not None and first[1] is None
    assert second[0] is not None and second[1] is not None


def test_a_new_face_comes_before_those_that_were_read(emotion: Package) -> None:
    class Joined(Crowd):
        def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
            found = super().detect(bgr, region)
            self.count = 4  # From the second look on.
            return found

    results, turns = play(emotion, Joined(3), 7)
    assert turns == [[0], [40], [80], [120], [0], [40], [80]]
    assert [sum(face.emotion is None for face in result.faces) for result in results] == [2, 1, 0, 0, 0, 0, 0]


def test_in_a_file_every_new_face_is_read_in_the_frame_that_shows_it_first(emotion: Package) -> None:
    """The others have their turn one by one, as live."""
    crowd = Crowd(3)
    results, turns = play(emotion, crowd, 6, live=False)
    assert turns == [[0, 40, 80], [0], [40], [80]]
    assert all(face.emotion for result in results for face in result.faces)


class Cutting(Turns):
    """Sees a cut in the seventh frame."""

    def is_cut(self, frame: Frame) -> bool:
        return frame.seq == 6


def test_at_a_cut_faces_get_new_numbers_and_the_window_starts_again(emotion: Package, tmp_path: Path) -> None:
    action = tiny_models.action_package(tmp_path / "action")
    pipeline = Pipeline(
        action=action, emotion=emotion, detector=Crowd(2), perception=Cutting, clock=ManualClock()
    )
    picture = np.zeros((60, 640, 3), np.uint8)
    results = [pipeline.process(Frame(n, n / 3, 0.0, picture)) for n in range(13)]
    assert [result.seq for result in results if result.cut] == [6]
    assert [{face.track for face in result.faces} for result in results] == [{1, 2}] * 6 + [{3, 4}] * 7
    ready = [result.action.ready for result in results if result.action]
    first = ready.index(True)
    assert ready == [n >= first and not 6 <= n < 6 + first for n in range(13)] and first > 1


def test_a_photograph_has_no_action(emotion: Package, tmp_path: Path) -> None:
    action = tiny_models.action_package(tmp_path / "action")
    results, _ = play(emotion, Crowd(1), 2, still=True, action=action)
    assert [(result.action, result.cut) for result in results] == [(None, False)] * 2
    assert all("encode" not in result.stages_ms for result in results)


@pytest.mark.parametrize("interval_s", [0.0, 0.1, 1.0, 2.0])
@pytest.mark.parametrize("live", [True, False])
def test_a_moving_face_has_one_number_however_rarely_it_is_looked_for(
    emotion: Package, interval_s: float, live: bool
) -> None:
    """It crosses the picture at one and a half of its sides a second."""

    class Walking(Crowd):
        def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
            self.shift = 45 * float(bgr[0, 0, 0]) / 10
            return super().detect(bgr, region)

    pipeline = Pipeline(
        action=None, emotion=emotion, detector=Walking(1), face_interval_s=interval_s,
        perception=Turns, clock=ManualClock(),
    )  # fmt: skip
    if live:
        pipeline.set_real_time()
    pictures = [np.full((60, 640, 3), n, np.uint8) for n in range(120)]
    results = [pipeline.process(Frame(n, n / 10, 0.0, picture)) for n, picture in enumerate(pictures)]
    assert {tuple(face.track for face in result.faces) for result in results} == {(1,)}
    assert all(face.emotion for result in results for face in result.faces)


def test_a_photograph_shows_all_at_once(emotion: Package) -> None:
    _, turns = play(emotion, Crowd(3), 2, still=True)
    assert turns == [[0, 40, 80]] * 2


def test_all_in_every_frame_where_that_is_wanted(emotion: Package) -> None:
    _, turns = play(emotion, Crowd(3), 2, face_interval_s=0)
    assert turns == [[0, 40, 80]] * 2


def test_between_looks_a_face_is_cut_out_where_it_has_moved_to(emotion: Package) -> None:
    class Walking(Crowd):
        def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
            found = super().detect(bgr, region)
            self.shift += 6.0  # In three frames: two pixels a frame, half of which is believed at first.
            return found

    _, turns = play(emotion, Walking(2), 8)
    assert turns[:3] == [[0], [40], [6]]
    assert turns[3] == [46 + 1]


def test_without_emotions_faces_have_none(emotion: Package) -> None:
    pipeline = Pipeline(action=None, emotion=None, detector=Crowd(2), clock=ManualClock())
    result = pipeline.process(Frame(0, 0.0, 0.0, np.zeros((60, 640, 3), np.uint8)))
    assert [face.emotion for face in result.faces] == [None, None]


def test_numbers_of_packages_and_providers(emotion: Package, tmp_path: Path) -> None:
    action = tiny_models.action_package(tmp_path)
    pipeline = Pipeline(action=action, emotion=emotion, detector=Crowd(0))
    assert set(pipeline.models) == {"action", "emotion"}
    assert set(pipeline.providers) == {"faces", "action", "emotion"}


def test_a_disabled_task_is_neither_stepped_nor_encoded(emotion: Package, tmp_path: Path) -> None:
    """Its readings are removed at once; enabled again it starts as with the first frame."""
    action = tiny_models.action_package(tmp_path / "action")
    pipeline = Pipeline(
        action=action,
        emotion=emotion,
        detector=Crowd(1),
        perception=Turns,
        face_interval_s=0,
        clock=ManualClock(),
    )
    picture = np.zeros((60, 640, 3), np.uint8)

    def play(first: int, count: int) -> list[Result]:
        return [pipeline.process(Frame(n, n / 3, 0.0, picture)) for n in range(first, first + count)]

    before = play(0, 9)
    assert [result.action.ready for result in before if result.action][-1]
    for name in ("action", "emotion"):
        pipeline.disable(name)
    assert pipeline.disabled == {"action", "emotion"}
    off = play(9, 3)
    assert [(result.action, result.faces[0].emotion) for result in off] == [(None, None)] * 3
    assert {stage for result in off for stage in result.stages_ms} == {"detect", "total"}
    assert [face.track for result in off for face in result.faces] == [1] * 3
    for name in ("action", "emotion", "emotion"):
        pipeline.enable(name)
    assert pipeline.disabled == set()
    after = play(12, 9)
    assert [result.action and result.action.ready for result in after] == [
        result.action and result.action.ready for result in before
    ]
    assert all(result.faces[0].emotion for result in after)


def test_updates_are_what_is_new_in_a_frame(emotion: Package, tmp_path: Path) -> None:
    """A picture is encoded in frames 0, 3, 6, …; the window of four is complete with the fourth."""
    action = tiny_models.action_package(tmp_path / "action", frames=4, seconds=0.4)
    results, _ = play(emotion, Crowd(2), 12, action=action, face_interval_s=0.2)
    ready = [n for n, result in enumerate(results) if result.action and result.action.ready]
    assert ready == [9, 10, 11]
    assert [n for n, result in enumerate(results) if "action" in result.updates] == [0, 9]
    faces = {n: result.updates["emotion"] for n, result in enumerate(results) if "emotion" in result.updates}
    assert {n: set(readings) for n, readings in faces.items() if isinstance(readings, dict)} == {
        0: {1}, 1: {2}, 6: {1}, 7: {2},
    }  # fmt: skip


def test_samples_are_read_each_by_itself(emotion: Package) -> None:
    """Faces are looked for eight times a second, and read twice, without an average over time."""

    class Changing(Turns):
        def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
            row = np.eye(self.models[task].row_size or 0, dtype=np.float32)[frame.seq % 2]
            self.turns.append([round(face.box.x) for face in faces])
            return Inference(np.stack([row] * len(faces)))

    made: list[Changing] = []

    def perception(*parts: Any) -> Changing:
        made.append(Changing(*parts))
        return made[0]

    pipeline = Pipeline(
        action=None, emotion=emotion, detector=Crowd(3), perception=perception,
        schedule=SamplingSchedule(2.0), clock=ManualClock(),
    )  # fmt: skip
    picture = np.zeros((60, 640, 3), np.uint8)
    results = [pipeline.process(Frame(n, n / 30, 0.0, picture)) for n in range(31)]
    assert [n for n, result in enumerate(results) if "emotion" in result.updates] == [0, 15, 30]
    assert made[0].turns == [[0, 40, 80]] * 3
    probs = [list(face.emotion.probs.values()) for face in results[15].faces if face.emotion]
    assert probs == [[0, 1, 0, 0, 0, 0, 0]] * 3
    assert sum("detect" in result.stages_ms for result in results) == 9


class MoodTask(EmotionTask):
    name = "mood"


def test_a_further_task_with_a_package_is_a_row_of_the_registry(
    emotion: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("edgeharfer.runtime.tasks.mood")
    module.__dict__.update(MoodTask=MoodTask, EmotionModel=EmotionModel)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = TaskEntry(
        summary="moods", task="mood:MoodTask", model="mood:EmotionModel", scope="face", recorded="moods"
    )
    monkeypatch.setattr(tasks, "TASKS", {**tasks.TASKS, "mood": entry})
    monkeypatch.setattr(recorder, "TASKS", tasks.TASKS)
    monkeypatch.setattr(pipeline_module, "PACKAGE_TASKS", (*tasks.PACKAGE_TASKS, "mood"))
    made: list[recorder.Recorder] = []

    def perception(*parts: Any) -> recorder.Recorder:
        made.append(recorder.Recorder(tmp_path / "mood.rec", *parts))
        return made[0]

    with Pipeline(
        action=None, emotion=None, packages={"mood": emotion}, detector=Crowd(1), clock=ManualClock(),
        perception=perception,
    ) as pipeline:  # fmt: skip
        pipeline.warm_up()
        result = pipeline.process(np.zeros((60, 640, 3), np.uint8))
        assert (set(pipeline.models), set(pipeline.labels)) == ({"mood"}, {"mood"})
        assert set(pipeline.providers) == {"faces", "mood"}
    made[0].close()
    assert {name for face in result.faces for name in face.readings} == {"mood"}
    header, line = map(json.loads, (tmp_path / "mood.rec").read_text().splitlines())
    assert set(header["models"]) == {"mood"} and line["moods"]

"""Watching a source: emotions at their rate, actions at theirs, faces often enough to be followed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the dev extra")

from edgeharfer.report.analyzer import Analyzer
from edgeharfer.report.record import FaceSample, Observations
from edgeharfer.runtime import open_source
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.faces.detectors import DETECTORS
from edgeharfer.runtime.schedule import TimeGrid
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.tasks import make_task
from edgeharfer.runtime.tasks.headpose import HeadPose
from edgeharfer.runtime.types import Frame
from tiny_models import FER7, action_package, emotion_package, picture_package

SECONDS = 2.0


class Reel(BaseSource):
    """Frames of the demo at any rate."""

    def __init__(self, fps: float, seconds: float = SECONDS) -> None:
        super().__init__("reel", SystemClock())
        self.fps, self._demo, self._count = fps, DemoSource(SystemClock()), round(seconds * fps)
        self.size = self._demo.size
        self._seq = 0

    def _next(self) -> Frame | None:
        if self._seq == self._count:
            return None
        time_s = self._seq / (self.fps or 1)
        frame = self._frame(self._seq, time_s, self._demo.picture(round(time_s * 30)))
        self._seq += 1
        return frame


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny emotion package and an action package that reads four frames of a second."""
    folder = tmp_path_factory.mktemp("packages")
    emotion_package(folder / "emotion")
    action_package(folder / "action")
    return folder


def analyzer(packages: Path, fps: float = 4.0, *, emotion: bool = True, action: bool = True) -> Analyzer:
    return Analyzer(
        fps=fps,
        emotion=str(packages / "emotion") if emotion else None,
        action=str(packages / "action") if action else None,
    )


def watched(found: Observations | None) -> Observations:
    assert found is not None
    return found


def test_the_grid_takes_the_first_frame_at_or_after_each_point() -> None:
    grid = TimeGrid(4.0)
    assert [time_s for time_s in np.arange(31) / 30 if grid.selects(time_s)] == pytest.approx(
        [0, 8 / 30, 15 / 30, 23 / 30, 1.0]
    )


def test_a_slow_source_gives_each_of_its_frames() -> None:
    grid = TimeGrid(4.0)
    assert all(grid.selects(time_s) for time_s in range(10))


def test_no_rounding_of_time_loses_a_point() -> None:
    grid = TimeGrid(30.0)
    assert sum(grid.selects(round(number / 30, 6)) for number in range(3000)) == 3000


def test_samples_come_at_their_rate_and_readings_at_theirs(packages: Path) -> None:
    found = watched(analyzer(packages).analyze(Reel(20)))
    assert [sample.time_s for sample in found.samples] == pytest.approx(np.arange(8) / 4)
    assert [reading.time_s for reading in found.readings] == pytest.approx([0.75, 1.0, 1.25, 1.5, 1.75])
    assert (found.frames, found.duration_s, found.stills) == (40, 2.0, False)
    assert found.step_s == pytest.approx(0.25)


def test_another_rate_changes_no_action(packages: Path) -> None:
    slow = watched(analyzer(packages, 1.0).analyze(Reel(20)))
    fast = watched(analyzer(packages, 20.0).analyze(Reel(20)))
    assert (len(slow.samples), len(fast.samples)) == (2, 40)
    assert slow.readings == fast.readings


def test_faces_are_followed_between_samples_that_lie_far_apart(packages: Path) -> None:
    """Once in 2 s would lose every track: one is kept for 0.8 s."""
    found = watched(analyzer(packages, 0.5, action=False).analyze(Reel(10, seconds=4.2)))
    tracks = [{face.track for face in sample.faces} for sample in found.samples]
    assert len(tracks) == 3
    assert tracks[0] == tracks[1] == tracks[2] == {1, 2}


def test_raw_probabilities_are_those_of_the_picture_alone(packages: Path) -> None:
    found = watched(analyzer(packages, action=False).analyze(Reel(10)))
    faces = [face for sample in found.samples for face in sample.faces]
    assert faces
    assert all(len(face.raw) == len(FER7) for face in faces)
    assert all(sum(face.raw) == pytest.approx(1, abs=1e-4) for face in faces)


def test_tasks_that_are_off_are_not_read(packages: Path) -> None:
    made = analyzer(packages, emotion=False, action=False)
    found = watched(made.analyze(Reel(10)))
    assert found.readings == ()
    assert {face.raw for sample in found.samples for face in sample.faces} == {()}
    assert (made.method.labels, made.method.action, made.method.window) == ((), None, None)


def test_further_tasks_are_columns(packages: Path) -> None:
    made = Analyzer(fps=4.0, emotion=None, action=None, extra_tasks=[HeadPose()])
    assert made.columns == ("headpose_yaw", "headpose_pitch", "headpose_roll")
    found = watched(made.analyze(Reel(10)))
    assert found.columns == made.columns
    faces = [face for sample in found.samples for face in sample.faces]
    assert faces and all(len(face.values) == 3 and None not in face.values for face in faces)
    plain = watched(analyzer(packages, emotion=False, action=False).analyze(Reel(10)))
    assert plain.samples == found.samples, "without being asked for"


def test_key_points_lie_on_the_face_and_only_those_that_were_found_are_kept(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(analyzer(packages, emotion=False, action=False).analyze(Reel(5, 1.0)))
    for face in [face for sample in found.samples for face in sample.faces]:
        points = np.array(face.keypoints).reshape(6, 2)
        inside = np.abs(points - face.box.center) < (face.box.width, face.box.height)
        assert inside.all() and points[0, 0] < points[1, 0], "the right eye is on the left of the picture"
    without = {"auto": replace(DETECTORS["auto"], keypoints=False)}
    monkeypatch.setattr("edgeharfer.report.analyzer.DETECTORS", without)
    made = analyzer(packages, emotion=False, action=False)
    plain = watched(made.analyze(Reel(5, 1.0)))
    assert made.columns == () == plain.columns
    assert {(face.values, face.keypoints) for sample in plain.samples for face in sample.faces} == {((), ())}


def test_packages_of_further_tasks_are_columns(tmp_path: Path) -> None:
    glasses = picture_package(tmp_path / "g", "glasses", labels=("no", "yes"))
    age = picture_package(tmp_path / "a", "age", values={"years": "years"})
    tasks = [make_task(str(package.path)) for package in (glasses, age)]
    made = Analyzer(fps=4.0, emotion=None, action=None, extra_tasks=tasks)
    found = watched(made.analyze(Reel(10)))
    assert set(made.method.models) == {"glasses", "age"}
    own = ("glasses_no", "glasses_yes", "age_years")
    assert found.columns == made.columns == (*own, "headpose_yaw", "headpose_pitch", "headpose_roll")
    values = [face.values[: len(own)] for sample in found.samples for face in sample.faces]
    assert values and all(None not in mine for mine in values)
    assert [no + yes for no, yes, _ in values if no and yes] == pytest.approx([1] * len(values), abs=2e-3)


class CutReel(Reel):
    """The second half is a mirrored demo in other colours."""

    def _next(self) -> Frame | None:
        frame = super()._next()
        if frame is None or frame.pts_s < SECONDS / 2:
            return frame
        return frame.with_picture(np.ascontiguousarray(frame.bgr[:, ::-1, ::-1]))


def test_at_a_cut_faces_and_actions_start_again(packages: Path) -> None:
    found = watched(analyzer(packages).analyze(CutReel(20)))
    assert found.cuts_s == (1.0,)
    tracks = [{face.track for face in sample.faces} for sample in found.samples]
    assert tracks[:4] == [{1, 2}] * 4
    assert all(numbers and min(numbers) >= 3 for numbers in tracks[4:])
    assert [reading.time_s for reading in found.readings] == pytest.approx([0.75, 1.75])
    assert watched(analyzer(packages).analyze(Reel(20))).cuts_s == ()


def test_the_facts_of_a_model_have_whole_hashes(packages: Path) -> None:
    """Of several files as `sha256sum FILE FILE | sha256sum` says it."""
    method = analyzer(packages).method
    assert method.emotion is not None and method.action is not None
    for facts, package in ((method.emotion, packages / "emotion"), (method.action, packages / "action")):
        digests = {name: sha256((package / name).read_bytes()).hexdigest() for name in facts.files}
        assert digests == facts.files
        listed = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
        whole = sha256(listed.encode()).hexdigest() if len(digests) > 1 else next(iter(digests.values()))
        assert facts.sha256 == whole and len(whole) == 64
    assert (len(method.emotion.files), len(method.action.files)) == (1, 2)


def test_a_stop_leaves_nothing(packages: Path) -> None:
    told: list[int] = []
    assert analyzer(packages).analyze(Reel(10), progress=told.append, stopping=lambda: len(told) == 5) is None
    assert told == [1, 2, 3, 4, 5]


def test_a_duration_ends_it(packages: Path) -> None:
    found = watched(analyzer(packages).analyze(open_source("demo"), duration_s=0.5))
    assert (found.frames, found.duration_s) == (15, 0.5)


def test_the_same_film_gives_the_same_again(packages: Path) -> None:
    made = analyzer(packages)
    assert made.analyze(Reel(10)) == made.analyze(Reel(10))


def test_each_photograph_is_a_sample_of_its_own(packages: Path, tmp_path: Path) -> None:
    demo = DemoSource(SystemClock())
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"p{number}.png"), demo.picture(number))
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((100, 100, 3), 90, np.uint8))
    seen: list[FaceSample] = []
    found = watched(
        analyzer(packages).analyze(open_source(tmp_path), on_sample=lambda frame, sample: seen.append(sample))
    )
    assert [sample.picture for sample in found.samples] == ["p0.png", "p1.png", "plain.png"]
    assert [len(sample.faces) for sample in found.samples] == [2, 2, 0]
    tracks = [face.track for sample in found.samples for face in sample.faces]
    assert len(set(tracks)) == 4, "nobody is followed from one photograph to the next"
    assert (found.stills, found.duration_s, found.readings) == (True, 0.0, ())
    assert seen == list(found.samples)

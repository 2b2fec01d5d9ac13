"""Agreement of the pipeline with its reference: second by second, by the most frequent label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeharfer.benchmark.agreement import AgreementJob, Labels, agreement, labels
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Action, Box, Emotion, TrackedFace
from films import write_film

A: Labels = ("run", "happy")
B: Labels = ("run", "sad")
C: Labels = ("sit", "happy")


def test_the_most_frequent_label_of_a_second_counts() -> None:
    found = agreement([0, 0, 0, 1, 1, 1], [A, A, B, A, A, A], [A, A, A, B, B, A])
    assert found == {"seconds": 2, "action": 1.0, "emotion": 0.5, "both": 0.5}


def test_both_tasks_must_agree_in_the_same_second() -> None:
    assert agreement([0, 1], [A, A], [B, C]) == {"seconds": 2, "action": 0.5, "emotion": 0.5, "both": 0.0}


def test_nothing_agrees_with_nothing() -> None:
    assert agreement([], [], [])["seconds"] == 0


def test_the_largest_face_counts() -> None:
    faces = tuple(
        TrackedFace(n, Box(0, 0, side, side), 0.9, {"emotion": Emotion(label, 0.9, {})})
        for n, (side, label) in enumerate([(20, "sad"), (50, "happy"), (30, "fear")])
    )
    assert labels(Result(0, 0.0, 1.0, faces, {"action": Action("run", 0.9, True)})) == ("run", "happy")
    assert labels(Result(0, 0.0, 1.0)) == (None, None)


def test_a_clip_without_people_agrees_with_its_reference(tmp_path: Path) -> None:
    """Both see nobody: the pipeline and its reference run over the same frames."""
    path = tmp_path / "gray.mp4"
    write_film(path, (np.full((120, 160, 3), 90, np.uint8) for _ in range(15)), 10.0)
    found = AgreementJob(str(path), {"action": None}, Backend(threads=1)).compare()
    assert found == {"seconds": 2, "action": 1.0, "emotion": 1.0, "both": 1.0}

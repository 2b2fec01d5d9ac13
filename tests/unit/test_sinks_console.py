"""The lines for people: what is known, in words."""

from __future__ import annotations

import pytest

from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.console import describe
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Action, Box, Emotion, TrackedFace

PLACE = Box(0, 0, 9, 9)


def faces(*labels: str | None) -> tuple[TrackedFace, ...]:
    return tuple(
        TrackedFace(number, PLACE, 0.9, {} if label is None else {"emotion": Emotion(label, 0.5, {})})
        for number, label in enumerate(labels, 1)
    )


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action("BoxingPunchingBag", 0.9, ready=True), "no face · action: boxing punching bag"),
        (Action(UNCERTAIN, 0.3, ready=True), "no face · action: not sure"),
        (Action(BACKGROUND, 0.9, ready=True), "no face · no action"),
        (Action(UNCERTAIN, 0.0, ready=False), "no face · action: warming up"),
        (None, "no face"),  # off, or a photograph
    ],
)
def test_actions_in_words(action: Action | None, words: str) -> None:
    assert describe(Result(0, 0.0, 1.0, readings={} if action is None else {"action": action})) == words


def test_faces_in_words() -> None:
    told = describe(Result(0, 0.0, 1.0, faces("happy", UNCERTAIN, None)))
    assert told == "face 1: happy · face 2: not sure · face 3: in view"

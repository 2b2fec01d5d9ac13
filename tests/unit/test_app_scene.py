"""What the page is told: a live result with its history and hints, and the digest of a report."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from edgeharfer.app.context import read_table
from edgeharfer.app.digest import MAX_POINTS, ReportDigest
from edgeharfer.app.feed import AppFeed
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.picture import encode, fit
from edgeharfer.app.scene import HISTORY, SceneSummary
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.tasks.intensity import IntensityEstimator
from edgeharfer.runtime.types import UNCERTAIN, Action, Box, Emotion, Frame, TrackedFace
from tiny_reports import report

HAPPY = Emotion("happy", 0.75, {"happy": 0.75, "neutral": 0.25})
FACE = TrackedFace(3, Box(10, 10, 20, 20), 0.9, {"emotion": HAPPY})


def scene() -> SceneSummary:
    return SceneSummary(IntensityEstimator(), LikelyActions(read_table()), {"happy": "Looks pleased."})


def result(time_s: float, action: Action | None = None, *faces: TrackedFace) -> Result:
    return Result(round(time_s * 30), time_s, 5.0, faces, {} if action is None else {"action": action})


def biking(score: float = 0.8) -> Action:
    return Action("Biking", score, True, {"Biking": score, "background": 1 - score})


def test_a_person_is_told_with_strength_and_message() -> None:
    watched = scene()
    [first] = watched.update(result(0.0, None, FACE))["people"]
    assert first["track"] == 3 and first["emotion"]["message"] == ""
    assert first["emotion"]["intensity"] == 0.75 and first["emotion"]["strength"] == "strong"
    [later] = watched.update(result(3.0, None, FACE))["people"]
    assert later["emotion"]["message"] == "Looks pleased."


def test_a_face_without_emotions_is_told_all_the_same() -> None:
    [person] = scene().update(result(0.0, None, TrackedFace(1, FACE.box, 0.9)))["people"]
    assert person == {"track": 1, "score": 0.9, "emotion": None}


def test_the_history_joins_what_belongs_together() -> None:
    watched = scene()
    for step in range(4):
        told = watched.update(result(0.5 * step, biking(0.6 + 0.1 * step)))
    assert told["history"] == [{"label": "Biking", "start_s": 0.0, "end_s": 1.5, "score": 0.75}]
    for action in (
        Action(UNCERTAIN, 0.3, True),
        Action("background", 0.9, True),
        Action("Archery", 0.9, False),
    ):
        assert watched.update(result(2.0, action))["history"] == told["history"]
    assert len(watched.update(result(9.0, biking()))["history"]) == 2


def test_the_history_is_bounded() -> None:
    watched = scene()
    for number in range(3 * HISTORY):
        told = watched.update(result(float(number), Action(f"Action{number}", 0.9, True)))
    assert [one["label"] for one in told["history"]] == [
        f"Action{n}" for n in range(2 * HISTORY, 3 * HISTORY)
    ]


def test_a_suggestion_has_its_probability_and_stands_for_a_while() -> None:
    watched = scene()
    [first, *_] = watched.update(result(0.0, biking(), FACE))["likely"]
    assert first["activity"] == "bicycling" and 0.4 < first["probability"] < 1
    nobody = Action(UNCERTAIN, 0.1, True, {"background": 1.0})
    assert watched.update(result(0.5, nobody))["likely"][0] == first
    assert watched.update(result(1.1, nobody))["likely"] == []


def test_the_picture_is_of_a_size_to_look_at_and_the_frame_is_left_alone() -> None:
    small, large = np.zeros((120, 160, 3), np.uint8), np.zeros((1080, 1920, 3), np.uint8)
    assert fit(small)[0].shape == (480, 640, 3) and fit(large)[0].shape == (720, 1280, 3)
    frame = Frame(0, 0.0, 0.0, small)
    picture = decode_image(encode(frame, result(0.0, None, FACE)), "picture")
    assert picture.shape == (480, 640, 3) and picture.max() > 100  # marked
    assert small.max() == 0


def test_a_picture_is_encoded_once_for_all_viewers() -> None:
    asyncio.run(watch(AppFeed(scene, ManualClock())))


async def watch(feed: AppFeed) -> None:
    async def view(viewer: str) -> tuple[dict[str, Any], bytes]:
        found = await feed.view(viewer, -1)
        return json.loads(found.state), found.jpeg

    feed.begin("demo")
    state, jpeg = await view("one")
    assert (state["run"], state["source"], jpeg) == ("starting", "demo", b"")
    feed.write(Frame(0, 0.0, 0.0, np.zeros((48, 64, 3), np.uint8)), result(0.0), Status())
    (first, one), (second, two) = await asyncio.gather(view("one"), view("two"))
    assert one is two and one and feed.encoded == 1 and first["number"] == second["number"]
    assert second["run"] == "running" and feed.viewers == 2
    feed.end("lost it")
    state, jpeg = await view("one")
    assert (state["run"], state["error"], jpeg, feed.encoded) == ("failed", "lost it", one, 1)
    feed.begin("another")
    assert (await view("one"))[1] == b"", "no picture of the run before"


def reading() -> ReportDigest:
    return ReportDigest(IntensityEstimator(), LikelyActions(read_table()), {"happy": "Looks pleased."})


def test_a_digest_says_what_the_report_says() -> None:
    made = report({1: "hhhn", 2: "  ss"}, "BB--")
    digest = reading().digest(made)
    assert json.loads(json.dumps(digest, allow_nan=False)) == digest
    assert digest["group"]["shares"] == {k: round(v, 4) for k, v in made.group.shares.items()}
    one, two = digest["people"]
    assert (one["label"], one["share"], one["message"]) == ("happy", 0.75, "Looks pleased.")
    assert [point["t"] for point in two["points"]] == [0.5, 0.75]
    assert one["points"][0]["intensity"] == pytest.approx(0.95)
    assert [segment["label"] for segment in digest["actions"]] == ["Biking", "background"]


def test_long_videos_are_thinned() -> None:
    digest = reading().digest(report({1: "hn" * 1000}))
    [person] = digest["people"]
    assert len(person["points"]) <= MAX_POINTS
    assert person["points"][0]["probs"][1] == pytest.approx((0.85 * 3 + 0.05 * 2) / 5, abs=1e-4)


def test_pictures_and_empty_videos_have_digests() -> None:
    photo = reading().digest(report({1: "h"}, pictures=("a.jpg",)))
    assert photo["kind"] == "pictures" and photo["people"][0]["points"][0]["box"] == [100, 50, 80, 80]
    nobody = reading().digest(report({1: "    "}))
    assert nobody["people"] == [] and nobody["likely"] == [] and nobody["group"]["intensity"] is None

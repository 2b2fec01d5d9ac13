"""Decisions: what stands becomes one start and one end; what flickers becomes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from edgeharfer.kiosk.config import DecisionConfig
from edgeharfer.kiosk.decisions import Decisions, Event
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Action, Box, Emotion, Reading, TrackedFace

RULES = DecisionConfig(min_duration_s=0.5, cooldown_s=2.0, min_score=0.5)
FPS = 10


def scene(label: str, score: float = 0.8) -> Action:
    return Action(label, score, True)


def face(track: int, label: str, score: float = 0.8) -> TrackedFace:
    return TrackedFace(track, Box(0, 0, 9, 9), 0.9, {"emotion": Emotion(label, score, {label: score})})


def results(actions: Iterable[Action | None], faces: Sequence[Sequence[TrackedFace]] = ()) -> list[Result]:
    return [
        Result(
            n, n / FPS, 1.0, tuple(faces[n]) if faces else (), {} if action is None else {"action": action}
        )
        for n, action in enumerate(actions)
    ]


def run(found: list[Result], decisions: Decisions | None = None) -> list[Event]:
    decisions = decisions or Decisions(RULES)
    return [event for result in found for event in decisions.update(result)]


def test_a_label_that_stands_has_one_start_and_one_end() -> None:
    start, end = run(results([scene("Biking", 0.6)] * 10 + [scene("Archery", 0.9)] * 6))[:2]
    assert (start.phase, start.label, start.start_s, start.end_s, start.duration_s) == (
        "start", "Biking", 0.0, None, None,
    )  # fmt: skip
    assert (end.phase, end.label, end.start_s, end.end_s, end.reason) == (
        "end",
        "Biking",
        0.0,
        1.0,
        "changed",
    )
    assert end.duration_s == pytest.approx(1.0)
    assert end.mean_score == pytest.approx(0.6)
    assert (start.decision, start.id != end.id) == (end.decision, True)


def test_the_added_delay_is_told() -> None:
    start = run(results([scene("Biking")] * 10))[0]
    assert start.delay_s == pytest.approx(0.5)


def test_what_is_shorter_than_the_minimum_is_not_told() -> None:
    assert run(results([scene("Biking")] * 4 + [scene("uncertain")] * 10)) == []


def test_a_flicker_does_not_end_a_decision() -> None:
    actions = ([scene("Biking")] * 10 + [scene("Archery")] * 2) * 5
    events = run(results(actions))
    assert [(event.phase, event.label) for event in events] == [("start", "Biking")]


@pytest.mark.parametrize(
    "weak", [scene("Biking", 0.49), scene("background"), Action("Biking", 0.9, False), None]
)
def test_what_is_no_label_decides_nothing(weak: Action | None) -> None:
    assert run(results([weak] * 30)) == []


def test_the_same_label_stays_quiet_until_it_has_cooled_down() -> None:
    pause, biking = [scene("uncertain")] * 6, [scene("Biking")] * 8
    events = run(results((biking + pause) * 4))
    starts = [event.start_s for event in events if event.phase == "start"]
    assert starts[0] == 0.0
    ends = [event.end_s for event in events if event.phase == "end"]
    assert ends[0] is not None
    assert len(starts) == 2 and starts[1] + 0.8 >= ends[0] + RULES.cooldown_s


def test_another_label_need_not_wait() -> None:
    events = run(results([scene("Biking")] * 10 + [scene("Archery")] * 10))
    assert [(event.phase, event.label) for event in events] == [
        ("start", "Biking"), ("end", "Biking"), ("start", "Archery"),
    ]  # fmt: skip


def test_each_face_is_decided_for_itself_and_leaves() -> None:
    faces = [[face(1, "happy"), face(2, "sad")]] * 10 + [[face(1, "happy")]] * 10
    events = run(results([None] * 20, faces))
    assert {(event.person, event.phase, event.label) for event in events} == {
        (1, "start", "happy"), (2, "start", "sad"), (2, "end", "sad"),
    }  # fmt: skip
    assert [event.reason for event in events if event.phase == "end"] == ["left"]


def test_labels_of_further_tasks_are_decided_too_and_numbers_are_not() -> None:
    def seen(number: int) -> Result:
        readings = {
            "glasses": Reading("yes", {"yes": 0.9, "no": 0.1}),
            "age": Reading(values={"years": 40.0}),
        }
        person = TrackedFace(1, Box(0, 0, 9, 9), 0.9, {**face(1, "happy").readings, **readings})
        weather = Reading("rain", {"rain": 0.7, "sun": 0.3})
        return Result(number, number / FPS, 1.0, (person,), {"weather": weather})

    decisions = Decisions(RULES, {"weather": {"rain": 0.8}})
    events = run([seen(n) for n in range(10)], decisions)
    assert {(event.kind, event.person, event.label) for event in events} == {
        ("emotion", 1, "happy"), ("glasses", 1, "yes"),
    }  # fmt: skip
    assert (decisions.scene_label, sorted(decisions.face_labels)) == (None, ["happy", "yes"])
    assert [event.kind for event in run([seen(n) for n in range(10)]) if event.person is None] == ["weather"]


def test_a_face_that_left_is_forgotten() -> None:
    decisions = Decisions(RULES)
    run(results([None] * 20, [[face(1, "happy")]] * 10 + [[]] * 10), decisions)
    assert (decisions.tracks, decisions.face_labels) == (set(), ())


def test_a_source_that_is_lost_ends_everything_where_it_was_last_seen() -> None:
    decisions = Decisions(RULES)
    run(results([scene("Biking")] * 10, [[face(1, "happy")]] * 10), decisions)
    closed = decisions.close("lost")
    assert [(event.label, event.end_s, event.reason) for event in closed] == [
        ("Biking", 0.9, "lost"), ("happy", 0.9, "lost"),
    ]  # fmt: skip
    assert decisions.close("stopped") == []
    assert decisions.scene_label is None


def test_flips_are_counted_before_and_after() -> None:
    decisions = Decisions(RULES)
    actions = [scene("Biking" if n // 2 % 2 else "Archery") for n in range(100)]
    events = run(results(actions), decisions)
    assert decisions.raw_flips.per_minute(decisions.now_s) == 50
    assert decisions.decided_flips.per_minute(decisions.now_s) == len(events) == 0
    assert decisions.raw_flips.per_minute(decisions.now_s + 59.8) == 1


def test_an_end_and_a_start_are_one_flip() -> None:
    decisions = Decisions(RULES)
    run(results([scene("Biking")] * 10 + [scene("Archery")] * 10), decisions)
    assert (
        decisions.raw_flips.per_minute(decisions.now_s)
        == decisions.decided_flips.per_minute(decisions.now_s)
        == 2
    )


def test_ids_are_never_the_same() -> None:
    events = run(results(([scene("Biking")] * 10 + [scene("Archery")] * 10) * 10))
    assert len({event.id for event in events}) == len(events) > 10

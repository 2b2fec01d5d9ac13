"""Stretches of one label: where they begin, where they end, and where there is none."""

from __future__ import annotations

import pytest

from edgeharfer.report.record import ActionReading
from edgeharfer.report.segments import Segment, emotion_segments, join_readings, seconds_by_label
from tiny_reports import report


def read(text: str, start_s: float = 2.0, step_s: float = 0.125) -> list[ActionReading]:
    return [
        ActionReading(start_s + place * step_s, letter, 0.5 + place / 100)
        for place, letter in enumerate(text)
        if letter != " "
    ]


def test_a_segment_ends_where_the_next_begins() -> None:
    found = join_readings(read("aabbb"), 0.125, 2.625)
    assert [(part.label, part.start_s, part.end_s) for part in found] == [
        ("a", 2.0, 2.25),
        ("b", 2.25, 2.625),
    ]


def test_the_score_is_the_mean_of_the_readings() -> None:
    assert [part.score for part in join_readings(read("aabb"), 0.125, 2.5)] == pytest.approx([0.505, 0.525])


def test_a_gap_parts_a_label_and_belongs_to_none() -> None:
    found = join_readings(read("aa     aa"), 0.125, 3.125)
    assert [(part.start_s, part.end_s) for part in found] == [(2.0, 2.25), (2.875, 3.125)]


def test_the_last_segment_ends_with_the_source() -> None:
    assert join_readings(read("a"), 0.125, 2.05)[-1].end_s == 2.05


def test_readings_that_come_unevenly_belong_together() -> None:
    """Frames fall on the grid only roughly: neighbours are up to two steps apart."""
    readings = [ActionReading(time_s, "a", 0.9) for time_s in (0.0, 0.4, 0.6, 0.8, 1.2)]
    assert [(part.start_s, part.end_s) for part in join_readings(readings, 0.25, 1.4)] == [(0.0, 1.4)]


def test_no_reading_no_segment() -> None:
    assert join_readings([], 0.125, 5.0) == ()


def test_times_by_label_come_longest_first() -> None:
    parts = [Segment(0, 1, "a", 0.9), Segment(1, 4, "b", 0.8), Segment(4, 5.5, "a", 0.7)]
    assert list(seconds_by_label(parts).items()) == [("b", 3), ("a", 2.5)]


def test_the_segments_of_a_person_leave_out_absence() -> None:
    made = report({1: "hhn   nn"})
    found = emotion_segments(made.shown[0].rows, made.recording.step_s, made.recording.duration_s)
    assert [(part.label, part.start_s, part.end_s) for part in found] == [
        ("happy", 0.0, 0.5),
        ("neutral", 0.5, 0.75),
        ("neutral", 1.5, 2.0),
    ]


def test_the_segments_of_a_report_are_its_actions() -> None:
    made = report({1: "h" * 16}, " " * 8 + "BBBB??--")
    assert [(part.label, part.start_s, part.end_s) for part in made.segments] == [
        ("Biking", 2.0, 3.0),
        ("uncertain", 3.0, 3.5),
        ("background", 3.5, 4.0),
    ]

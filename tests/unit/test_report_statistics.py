"""Shares, transitions, confidence and coverage, against counts by hand."""

from __future__ import annotations

import pytest

from edgeharfer.report.rows import label_rows
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.statistics import (
    MAX_LABELS,
    MAX_SHOWN,
    compute_statistics,
    main_labels,
    person_statistics,
)
from tiny_reports import LABELS, SURE, recording, report


def test_shares_are_counts_of_labels() -> None:
    made = report({1: "hhhn", 2: " ss?"})
    assert made.group.sightings == 7
    assert made.group.shares == pytest.approx(
        {"angry": 0, "happy": 3 / 7, "sad": 2 / 7, "neutral": 1 / 7, "uncertain": 1 / 7}
    )
    assert sum(made.group.shares.values()) == pytest.approx(1)
    assert made.group.leader == ("happy", 3 / 7)


def test_coverage_counts_samples_and_not_faces() -> None:
    made = report({1: "hh  ", 2: "s   "})
    assert made.group.coverage == 0.5
    assert [person.measures.coverage for person in made.persons] == [0.5, 0.25]


def test_confidence_is_the_mean_of_the_best_class() -> None:
    assert report({1: "hn?"}).group.confidence == pytest.approx((2 * SURE + 0.25) / 3, abs=1e-4)


def test_raw_means_know_nothing_of_smoothing() -> None:
    raw = report({1: "hhnn"}).group.mean_raw
    smoothed = report({1: "hhnn"}, smoothing=Smoothing("centered", 2.0)).group.mean_raw
    assert raw == smoothed
    assert raw["happy"] == pytest.approx((SURE + 0.05) / 2)


def test_transitions_pass_over_uncertain_and_stay_within_a_track() -> None:
    made = report({1: "h?n?nh", 2: "s     "})
    assert made.group.transitions == {("happy", "neutral"): 1, ("neutral", "happy"): 1}


def test_the_most_frequent_transition_comes_first() -> None:
    made = report({1: "hnhnsn"})
    assert next(iter(made.group.transitions.items())) == (("happy", "neutral"), 2)


def test_nobody_is_in_an_empty_film() -> None:
    made = report({1: "    "})
    assert made.group.sightings == made.group.coverage == made.group.confidence == 0
    assert made.persons == made.shown == ()
    assert made.group.leader is None


def test_a_face_seen_for_a_moment_has_no_page_but_counts() -> None:
    made = report({1: "h" * 20, 2: "ss"})
    assert [person.track for person in made.shown] == [1]
    assert [person.track for person in made.persons] == [1, 2]
    assert made.group.shares["sad"] == pytest.approx(2 / 22)


def test_in_a_short_clip_a_quarter_of_it_is_enough() -> None:
    assert [person.track for person in report({1: "hh", 2: "s "}).shown] == [1, 2]


def test_only_those_seen_longest_have_pages() -> None:
    tracks = {track: "h" * (40 - track) for track in range(1, MAX_SHOWN + 5)}
    assert [person.track for person in report(tracks).shown] == list(range(1, MAX_SHOWN + 1))


def test_several_photographs_have_no_people() -> None:
    assert report({1: "h ", 2: " s"}, pictures=("a.jpg", "b.jpg")).shown == ()
    assert len(report({1: "h", 2: "s"}, pictures=("a.jpg",)).shown) == 2


def test_a_report_on_one_person_tells_nothing_of_others() -> None:
    made = report({1: "hhhh", 2: "ssss"}, "BBBB")
    own = made.for_person(made.shown[1])
    assert {row.face.track for row in own.rows} == {2}
    assert own.group.shares["happy"] == 0
    assert own.segments == ()
    assert own.only == 2


def test_without_emotions_there_are_no_shares() -> None:
    seen = recording({1: "hhhh"}, labels=())
    rows = label_rows(seen, (), 0.4, Smoothing())
    assert {row.label for row in rows} == {""}
    assert compute_statistics(rows, (), 4).shares == {}
    assert person_statistics(rows, (), 4)[0].measures.coverage == 1


def test_there_is_room_for_the_likeliest_labels() -> None:
    assert main_labels(LABELS, report({1: "hn"}).group) == list(LABELS)
    many = tuple(f"label{number:02}" for number in range(30))
    seen = compute_statistics((), many, 0)
    assert len(main_labels(many, seen)) == MAX_LABELS

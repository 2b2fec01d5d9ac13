"""The model of likely actions: its formula, its default table, the tables of `train context`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.app.context import ContextTable, read_table
from edgeharfer.app.likely import (
    MIN_PROBABILITY,
    TRUST,
    LikelyActions,
    Suggestion,
    activities_of,
    mean_emotion,
)
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import load_package

COUNTS = np.array([[30.0, 10.0], [10.0, 50.0]])
TABLE = ContextTable(("happy", "neutral"), ("sports", "self care"), COUNTS, 0.0, "joint")


def test_nothing_known_gives_the_table_s_own_shares() -> None:
    assert LikelyActions(TABLE).posterior({}, {}) == pytest.approx({"sports": 0.4, "self care": 0.6})
    assert LikelyActions(TABLE).suggest({}, {}) == ()


def test_a_sure_emotion_is_bayes_rule() -> None:
    found = LikelyActions(TABLE).posterior({"happy": 1.0, "neutral": 0.0}, {})
    assert found == pytest.approx({"sports": 30 / 40, "self care": 10 / 40})


def test_an_unsure_emotion_is_weighed() -> None:
    # Likelihoods: 0.5 * 0.75/0.4 + 0.5 * (1/6)/0.4 and the same for the other (Pearl 1988, 2.2.2).
    sports = 0.4 * (0.5 * (30 / 40) / 0.4 + 0.5 * (10 / 60) / 0.4)
    care = 0.6 * (0.5 * (10 / 40) / 0.6 + 0.5 * (50 / 60) / 0.6)
    found = LikelyActions(TABLE).posterior({"happy": 0.5, "neutral": 0.5}, {})
    assert found["sports"] == pytest.approx(sports / (sports + care))


def test_an_action_is_trusted_as_far_as_the_model_is_right() -> None:
    found = LikelyActions(TABLE).posterior({}, {"Archery": 1.0})
    assert found["sports"] == pytest.approx((1 - TRUST) * 0.4 + TRUST)
    half = LikelyActions(TABLE).posterior({}, {"Archery": 0.5, "background": 0.5})
    assert half["sports"] == pytest.approx((1 - TRUST / 2) * 0.4 + TRUST / 2)


def test_background_tells_nothing() -> None:
    assert LikelyActions(TABLE).posterior({}, {"background": 1.0}) == pytest.approx(
        {"sports": 0.4, "self care": 0.6}
    )


def test_independent_counts_let_no_emotion_matter() -> None:
    counts = np.outer([10.0, 30.0], [1.0, 3.0])
    model = LikelyActions(ContextTable(("happy", "neutral"), ("sports", "rest"), counts, 0.0, "independent"))
    assert model.posterior({"happy": 1.0}, {}) == pytest.approx({"sports": 0.25, "rest": 0.75})


def test_an_emotion_that_the_table_does_not_know_tells_nothing() -> None:
    assert LikelyActions(TABLE).posterior({"bored": 1.0}, {})["sports"] == pytest.approx(0.4)


def test_smoothing_leaves_nothing_impossible() -> None:
    table = ContextTable(
        ("happy", "neutral"), ("sports", "rest"), np.array([[5.0, 0.0], [0.0, 5.0]]), 1.0, "joint"
    )
    found = LikelyActions(table).posterior({"happy": 1.0}, {})
    assert found == pytest.approx({"sports": 6 / 7, "rest": 1 / 7})


def test_only_what_stands_out_is_suggested() -> None:
    model = LikelyActions(read_table())
    assert model.suggest({"neutral": 1.0}, {"background": 1.0}) == ()
    assert [label for label in read_table().emotions if model.suggest({label: 1.0}, {})] == []
    [first, *_] = model.suggest({"happy": 0.8, "neutral": 0.2}, {"BlowingCandles": 0.8, "background": 0.2})
    assert first.activity == "celebrating" and MIN_PROBABILITY < first.probability < 0.95
    assert isinstance(first, Suggestion)


def test_every_label_of_the_action_package_stands_for_an_activity_of_the_table() -> None:
    actions = {"".join(name.split()) for name in read_table().actions}
    labels = set(load_package("action-ucf20", "action").manifest.labels) - {"background"}
    assert [label for label in sorted(labels) if not actions & set(activities_of(label))] == []


def test_the_table_that_ships_says_that_nobody_was_counted() -> None:
    table = read_table()
    assert table.relation == "assumed" and table.joint.sum() == pytest.approx(1)
    assert table.counts.sum() == pytest.approx(1000)


def test_a_crowd_counts_as_its_mean() -> None:
    assert mean_emotion([{"happy": 1.0}, {"happy": 0.5, "sad": 0.5}]) == {"happy": 0.75, "sad": 0.25}
    assert mean_emotion([]) == {}


def content(**changes: object) -> dict[str, object]:
    """As `train context` writes it."""
    return {
        "format": 1,
        "emotions": ["happy", "neutral"],
        "actions": ["Biking"],
        "counts": [[1.0], [2.0]],
        "smoothing": 1.0,
        "source": {"relation": "joint", "files": []},
        **changes,
    }


def test_a_table_of_one_s_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "context.json"
    path.write_text(json.dumps(content()), encoding="utf-8")
    table = read_table(path)
    assert (table.emotions, table.actions, table.relation) == (("happy", "neutral"), ("Biking",), "joint")
    # The table's action is the label itself.
    assert LikelyActions(table).posterior({}, {"Biking": 1.0}) == {"Biking": 1.0}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format"),
        ({"counts": [[1.0]]}, "counts"),
        ({"counts": [[1.0, 2.0], [3.0]]}, "one row per emotion"),
        ({"counts": [[-1.0], [2.0]]}, "counts"),
        ({"counts": [[0.0], [0.0]], "smoothing": 0}, "counts: all are zero"),
        ({"actions": ["a", "a"], "counts": [[1, 1], [1, 1]]}, "contains a duplicate name"),
        ({"source": {}}, "relation"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_another_layout_is_an_error(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    path = tmp_path / "context.json"
    path.write_text(json.dumps(content(**changes)), encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        read_table(path)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pass a JSON file to --context"):
        read_table(tmp_path / "none.json")

"""Figures of a classifier: known by hand, and the same as scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from edgeharfer.evaluate.metrics import class_metrics, confusion_matrix, score, top_k

LABELS = ("a", "b", "c", "d")
# Six samples: a, a, a, b, b, c; called a, a, b, b, c, c; nothing is d, and nothing is called d.
TRUTH = np.array([0, 0, 0, 1, 1, 2])
PROBS = np.array([
    [0.7, 0.1, 0.1, 0.1],
    [0.6, 0.2, 0.1, 0.1],
    [0.3, 0.5, 0.1, 0.1],
    [0.1, 0.6, 0.2, 0.1],
    [0.3, 0.1, 0.5, 0.1],
    [0.1, 0.2, 0.6, 0.1],
], np.float32)  # fmt: skip


def test_confusion_has_the_truth_in_its_rows() -> None:
    assert confusion_matrix(TRUTH, PROBS.argmax(axis=1), 4).tolist() == [
        [2, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize(("k", "share"), [(1, 4 / 6), (2, 5 / 6), (3, 1.0), (9, 1.0)])
def test_top_k_by_hand(k: int, share: float) -> None:
    assert top_k(PROBS, TRUTH, k) == pytest.approx(share)


def test_top_1_takes_the_first_of_equals_as_argmax_does() -> None:
    even = np.full((2, 3), 1 / 3, np.float32)
    assert top_k(even, np.array([0, 1]), 1) == 0.5


def test_score_by_hand() -> None:
    figures = score("action", PROBS, TRUTH, LABELS)
    assert figures["n"] == 6
    assert figures["top1"] == pytest.approx(4 / 6)
    per_class = figures["per_class"]
    assert isinstance(per_class, dict)
    assert per_class["a"] == {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": 0.8, "support": 3}
    assert per_class["b"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert per_class["c"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert per_class["d"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert figures["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3), "d is not in the data"
    assert figures["weighted_f1"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)


def test_what_is_given_to_a_class_that_the_data_lacks_is_lost() -> None:
    figures = score("action", np.array([[0.1, 0.9], [0.8, 0.2]], np.float32), np.array([0, 0]), ("a", "d"))
    assert figures["top1"] == 0.5
    assert figures["macro_f1"] == pytest.approx(2 / 3)


def test_the_object_is_the_promised_json() -> None:
    figures = json.loads(json.dumps(score("emotion", PROBS, TRUTH, LABELS)))
    assert list(figures) == [
        *("task", "n", "top1", "top3", "macro_f1", "weighted_f1", "labels", "per_class", "confusion")
    ]
    assert figures["task"] == "emotion"
    assert figures["labels"] == list(LABELS)
    assert list(figures["per_class"]) == list(LABELS)
    assert all(list(row) == ["precision", "recall", "f1", "support"] for row in figures["per_class"].values())


def test_two_classes_have_a_top_3() -> None:
    assert score("action", PROBS[:, :2], np.array([0, 0, 0, 1, 1, 1]), ("a", "b"))["top3"] == 1.0


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        score("action", np.empty((0, 2), np.float32), np.empty(0, np.int64), ("a", "b"))


def test_the_same_as_scikit_learn_on_noise() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 7, 400)
    probs = rng.dirichlet(np.ones(7), 400).astype(np.float32)
    probs[np.arange(400), truth] += rng.random(400).astype(np.float32) * 0.5
    called = probs.argmax(axis=1)
    figures = score("emotion", probs, truth, [str(i) for i in range(7)])
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, called, average="macro"))
    assert figures["weighted_f1"] == pytest.approx(f1_score(truth, called, average="weighted"))
    mine = class_metrics(confusion_matrix(truth, called, 7))
    theirs = precision_recall_fscore_support(truth, called)
    for name, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        np.testing.assert_allclose(mine[name], values)

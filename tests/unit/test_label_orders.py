"""Orders of labels, judged by confusion matrices that are written by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from edgeharfer.evaluate.label_orders import (
    FITTED,
    KNOWN_ORDERS,
    Counts,
    better_order,
    plausible_orders,
    score_orders,
)

FER = KNOWN_ORDERS["FER-2013"]
ALPHABETICAL = tuple(sorted(FER))
N, RIGHT = 40, 30


def confusion(truth: Sequence[str], outputs: Sequence[str]) -> Counts:
    """30 of 40 samples of each class have their own output, the others are spread over all."""
    counts = np.zeros((len(truth), len(outputs)), np.int64)
    for row, name in enumerate(truth):
        counts[row] = (N - RIGHT) // (len(outputs) - 1)
        if name in outputs:
            counts[row, outputs.index(name)] = RIGHT
    return counts


def test_the_order_that_a_model_was_trained_in_is_found() -> None:
    """It was trained in the order of FER-2013; its app lists the labels by the alphabet."""
    orders = plausible_orders(ALPHABETICAL, 7, {"labels.txt": ALPHABETICAL})
    best, *others = score_orders(orders, ALPHABETICAL, confusion(ALPHABETICAL, FER))
    assert (best.order.name, best.order.labels) == ("FER-2013", FER)
    assert best.top1 > 0.8
    assert {"labels.txt", "RAF-DB", "AffectNet"} <= {one.order.name for one in others}
    assert all(one.top1 < 0.6 for one in others)


def test_an_order_that_nobody_lists_is_fitted() -> None:
    odd = tuple(FER[i] for i in (3, 5, 0, 6, 1, 4, 2))
    best = score_orders(plausible_orders(ALPHABETICAL, 7), ALPHABETICAL, confusion(ALPHABETICAL, odd))[0]
    assert (best.order.name, best.order.labels) == (FITTED, odd)


def test_names_of_the_data_are_kept_and_synonyms_known() -> None:
    classes = ("Anger", "happiness", "Sadness")
    orders = {one.labels for one in plausible_orders(classes, 3, {"labels.json": ("sad", "angry", "happy")})}
    assert ("Sadness", "Anger", "happiness") in orders
    assert len(orders) == 6


def test_a_model_with_more_outputs_than_the_data_has_classes() -> None:
    orders = {one.name: one.labels for one in plausible_orders(ALPHABETICAL, 8)}
    assert orders["FER+"] == KNOWN_ORDERS["FER+"]
    assert orders["alphabetical"] == tuple(sorted(KNOWN_ORDERS["FER+"]))
    scores = score_orders(
        plausible_orders(ALPHABETICAL, 8), ALPHABETICAL, confusion(ALPHABETICAL, KNOWN_ORDERS["AffectNet"])
    )
    assert scores[0].order.name == "AffectNet"


def test_evaluation_warns_of_classes_that_are_never_right_in_a_wrong_order() -> None:
    best = better_order(ALPHABETICAL, confusion(ALPHABETICAL, FER))
    assert best is not None and best.order.labels == FER
    rare = confusion(ALPHABETICAL, FER)
    rare[:] = rare // 8
    assert better_order(ALPHABETICAL, rare) is None


def test_evaluation_does_not_warn_of_a_weak_class_or_a_right_order() -> None:
    right = confusion(FER, FER)
    assert better_order(FER, right) is None
    right[1] = [12, 0, 8, 5, 5, 5, 5]
    assert better_order(FER, right) is None


def test_classes_that_the_data_lacks_keep_a_place() -> None:
    labels = KNOWN_ORDERS["FER+"]
    odd = tuple(labels[i] for i in (7, 5, 0, 6, 1, 4, 2, 3))
    counts = confusion(labels, odd)
    counts[labels.index("contempt")] = 0
    best = better_order(labels, counts)
    assert best is not None and best.order.labels == odd


def test_without_scipy_the_usual_orders_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    names = {
        one.order.name
        for one in score_orders(plausible_orders(FER, 7), ALPHABETICAL, confusion(ALPHABETICAL, FER))
    }
    assert "FER-2013" in names and FITTED not in names

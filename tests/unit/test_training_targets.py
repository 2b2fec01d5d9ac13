"""What the heads of an emotion model are taught, from labels and votes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.evaluate import ferplus
from edgeharfer.training.emotion.data import make_targets
from edgeharfer.training.emotion.faces import Faces
from edgeharfer.training.emotion.kaggle import FER7

LABELS = ("angry", "happy", "happy", "happy")


def faces() -> Faces:
    pictures = np.zeros((4, 8, 8), np.uint8)
    labels = np.array([FER7.index(label) for label in LABELS])
    return Faces(["a.png", "b.png", "c.png", "d.png"], pictures, labels, pictures)


def votes(**by_class: int) -> np.ndarray:
    """Ten votes as `read_votes` gives them: the eight labels, unknown, no face."""
    names = (*ferplus.LABELS, "unknown", "NF")
    return np.array([by_class.get(name, 0) for name in names], np.float32)


VOTES = {
    "a.png": votes(angry=6, disgust=4),
    "b.png": votes(happy=4, neutral=3, contempt=3),
    "c.png": votes(unknown=10),
}


def test_smoothed_labels_sum_to_one() -> None:
    rows = make_targets(faces(), None, smoothing=0.14).by_head["fer7"]
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows[0], [0.88 if name == "angry" else 0.02 for name in FER7], rtol=1e-5)


def test_the_votes_are_a_distribution_and_no_votes_teach_nothing() -> None:
    rows = make_targets(faces(), VOTES).by_head["fer8"]
    seen = dict(zip(ferplus.LABELS, rows[0].tolist(), strict=True))
    np.testing.assert_allclose([seen["angry"], seen["disgust"]], [0.6, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(rows[2:], 0)  # One is unknown to its annotators, one has no votes.


def test_the_majority_is_one_label_and_none_is_masked() -> None:
    rows = make_targets(faces(), VOTES, majority=True).by_head["fer8"]
    assert ferplus.LABELS[int(rows[0].argmax())] == "angry"
    assert rows[0].sum() == 1
    np.testing.assert_array_equal(rows[1:], 0)  # Four of ten is no majority.


def test_class_weights_scale_the_rows() -> None:
    rows = make_targets(faces(), None, weight_cap=1.5).by_head["fer7"]
    np.testing.assert_allclose(rows.sum(axis=1), [1.5, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)


def test_a_class_that_is_seldom_called_is_lifted_until_it_is_found() -> None:
    """A network that halves the probability of one class."""
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.run import MIN_RECALL, boost_weak_classes

    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, -1], 100)
    probs = rng.uniform(0, 0.6, (400, 3)).astype(np.float32)
    probs[np.arange(300), truth[:300]] += 0.5
    probs[:, 1] *= 0.5
    lifts = boost_weak_classes(probs, truth, ("a", "b", "c"))
    assert list(lifts) == ["b"]
    weights = np.array([1, lifts["b"], 1])
    assert ((probs[100:200] * weights).argmax(axis=1) == 1).mean() >= MIN_RECALL
    assert ((probs[100:200]).argmax(axis=1) == 1).mean() < MIN_RECALL


def test_a_class_of_a_few_pictures_is_not_lifted() -> None:
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.run import boost_weak_classes

    truth = np.array([0] * 50 + [1] * 5)
    probs = np.tile(np.array([0.9, 0.1], np.float32), (55, 1))
    assert boost_weak_classes(probs, truth, ("a", "b")) == {}


def test_lifting_ends_where_it_costs_too_much() -> None:
    """The weak class cannot be told from the strong one."""
    pytest.importorskip("keras")
    from edgeharfer.training.emotion.run import MAX_TOP1_LOSS, boost_weak_classes

    truth = np.array([0] * 200 + [1] * 30)
    rng = np.random.default_rng(1)
    first = rng.uniform(0.55, 0.95, 230)
    probs = np.stack([first, 1 - first], axis=1).astype(np.float32)
    lifts = boost_weak_classes(probs, truth, ("a", "b"))
    right = (probs * np.array([1, lifts.get("b", 1.0)])).argmax(axis=1) == truth
    assert right.mean() >= (probs.argmax(axis=1) == truth).mean() - MAX_TOP1_LOSS

"""Losses and class weights against values computed by hand, and optimizers by name."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.training.losses import class_weights, focal, make_loss, soft_cross_entropy  # noqa: E402
from edgeharfer.training.optimizers import LEARNING_RATES, make_optimizer  # noqa: E402

LOGITS = np.log(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32))
TARGETS = np.array([[1, 0], [1, 0]], np.float32)


def numbers(tensor: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def test_focal_loss_counts_what_is_easy_less() -> None:
    hard = numbers(focal(2.0)(TARGETS, LOGITS))
    np.testing.assert_allclose(hard, [0.1**2 * -np.log(0.9), 0.8**2 * -np.log(0.2)], rtol=1e-5)


def test_focal_loss_of_gamma_zero_is_cross_entropy() -> None:
    plain = numbers(soft_cross_entropy(TARGETS, LOGITS))
    np.testing.assert_allclose(numbers(focal(0.0)(TARGETS, LOGITS)), plain, rtol=1e-6)
    assert make_loss(0.0) is soft_cross_entropy


def test_a_row_of_zeros_teaches_nothing_and_a_row_times_two_twice() -> None:
    rows = np.array([[0, 0], [2, 0]], np.float32)
    np.testing.assert_allclose(
        numbers(soft_cross_entropy(rows, LOGITS)), [0, -2 * np.log(0.2)], rtol=1e-5, atol=1e-7
    )


def test_class_weights_even_out_the_classes_up_to_the_cap() -> None:
    targets = np.repeat(np.eye(3, dtype=np.float32), [90, 9, 1], axis=0)
    weights = class_weights(targets, cap=10)
    np.testing.assert_allclose(weights, [100 / 3 / 90, 100 / 3 / 9, 10])


def test_a_class_without_samples_keeps_its_weight() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    np.testing.assert_allclose(class_weights(targets, cap=5), [1, 1, 1])


@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
@pytest.mark.parametrize("name", list(LEARNING_RATES))
def test_every_optimizer_starts_low_with_cosine_and_at_its_rate_otherwise(name: str, schedule: str) -> None:
    optimizer = make_optimizer(name, None, 0.01, 100, schedule)
    rate = float(optimizer.learning_rate)
    assert rate == pytest.approx(LEARNING_RATES[name] / (100 if schedule == "cosine" else 1), rel=1e-4)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="nadam"):
        make_optimizer("nadam", 0.1, 0, 10)

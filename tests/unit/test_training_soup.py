"""The mean of a run's parts: taken together as far as held-back data is served by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.training.loop import greedy_soup  # noqa: E402


def network() -> Any:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="only")])


def parts(folder: Path, *values: float) -> list[Path]:
    """Parts of a run whose weights are all of one value."""
    model, folders = network(), []
    for number, value in enumerate(values):
        model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
        folders.append(folder / f"part-{number}")
        folders[-1].mkdir()
        model.save_weights(folders[-1] / "best.weights.h5")
    return folders


@pytest.mark.parametrize(
    ("values", "wanted", "mean"),
    [((0, 4), 2, 2), ((0, 4), 1.2, 4 / 3), ((0, 4, 7), 7, 7), ((0, 4), 9, 4), ((5,), 1, 5)],
)
def test_the_mean_is_what_serves_held_back_data_best(
    values: tuple[float, ...], wanted: float, mean: float, tmp_path: Path
) -> None:
    model, said = network(), list[str]()

    def loss(model: Any) -> float:
        return abs(float(model.get_weights()[0].item()) - wanted)

    greedy_soup(model, parts(tmp_path, *values), loss, said.append)
    for weight in model.get_weights():
        np.testing.assert_allclose(weight, mean, rtol=1e-6)
    assert len(said) == 1 and "part-" in said[0] and f"{abs(mean - wanted):.4f}" in said[0]

"""Which layers suffer most from eight bits: each quantized alone, the answers held against the original."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeharfer.calib.graphs import StaticQuantizer
from edgeharfer.calib.recipes import Recipe
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.types import Floats


def sweep(
    quantizer: StaticQuantizer, recipe: Recipe, run: Callable[[Graph], Floats]
) -> list[tuple[str, float]]:
    """Each weighted layer with the error that it alone causes, worst first.

    run: the output of a graph on some data. The error is the mean square over the output's own.
    """
    wanted = run(quantizer.original)
    power = float(np.mean(np.square(wanted, dtype=np.float64))) or 1.0
    found = []
    for layer in quantizer.layers:
        given = run(quantizer.quantized(recipe, only=[layer]))
        error = float(np.mean(np.square(given.astype(np.float64) - wanted))) / power
        found.append((layer, error if np.isfinite(error) else float("inf")))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))

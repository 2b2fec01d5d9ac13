"""Run every graph of the shipped packages on fixed inputs, and keep the outputs.

    python graph_outputs.py MODELS FILE.npz

MODELS is the folder edgeharfer/models. The inputs are smooth pictures, or noise for features, from a fixed
seed.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

BLOCK = 12
"""Size in pixels of the coarse picture that is enlarged."""
FREE = 160
"""For a side of a picture that the graph leaves open."""


def inputs(session: Any) -> dict[str, np.ndarray[Any, Any]]:
    """An input of batch 1 for each input of a graph."""
    random, feed = np.random.default_rng(1), {}
    for one in session.get_inputs():
        first, *others = (size if isinstance(size, int) else None for size in one.shape)
        shape = [first or 1, *(size or FREE for size in others)]
        value = random.standard_normal(shape)
        if len(shape) == 4:
            rows, columns = (2, 3) if shape[1] in (1, 3) else (1, 2)
            for axis in (rows, columns):
                coarse = value.take(range(BLOCK), axis)
                value = coarse.repeat(-(-shape[axis] // BLOCK), axis).take(range(shape[axis]), axis)
        if one.type == "tensor(uint8)":
            feed[one.name] = (value * 60 + 128).clip(0, 255).astype(np.uint8)
        else:
            feed[one.name] = value.clip(-1, 1).astype(np.float32)
    return feed


def main() -> None:
    models, target = Path(sys.argv[1]), sys.argv[2]
    options = onnxruntime.SessionOptions()
    found: dict[str, Any] = {}
    options.intra_op_num_threads = 1
    for path in sorted(models.glob("*/*.onnx")):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, inputs(session))
        found[f"{path.parent.name}/{path.stem}"] = np.concatenate([value.ravel() for value in outputs])
    np.savez(target, **found)


if __name__ == "__main__":
    main()

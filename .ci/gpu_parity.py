"""Compare every graph of the shipped packages on a provider with the CPU, and print the figures as JSON.

    python gpu_parity.py PROVIDER

The key is package/graph; the value has the largest difference, relative to the largest value, the cosine and
the seconds until the first answer, or why the graph cannot run there.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from graph_outputs import inputs

import edgeharfer.models
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference import onnx_runtime
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session


def compare(path: Path, provider: str) -> dict[str, Any]:
    """The figures of one graph."""
    plain = onnx_runtime.load().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = inputs(plain)
    expected = np.concatenate([value.ravel() for value in plain.run(None, feed)]).astype(float)
    start_s = time.monotonic()
    try:
        session = make_session(Graph.scan(path.read_bytes(), path.name), Backend(provider))
        outputs = session.run(feed)
    except EdgeharferError as error:
        return {"reason": str(error)}
    found = np.concatenate([outputs[name].ravel() for name in session.output_names]).astype(float)
    return {
        "seconds": round(time.monotonic() - start_s, 3),
        "difference": float(np.abs(found - expected).max() / np.abs(expected).max()),
        "cosine": float(found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected))),
    }


def main() -> None:
    folder = Path(next(iter(edgeharfer.models.__path__)))
    paths = sorted(folder.glob("*/*.onnx"))
    print(json.dumps({f"{path.parent.name}/{path.stem}": compare(path, sys.argv[1]) for path in paths}))


if __name__ == "__main__":
    main()

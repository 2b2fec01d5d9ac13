"""The same training step on every backend that is installed: the same losses, before and after it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]

STEP = """
import json, sys
import numpy as np
import keras
from edgeharfer.training.emotion.networks import emotion_model
from edgeharfer.training.losses import focal
from edgeharfer.training.optimizers import make_optimizer

rng = np.random.default_rng(0)
small = {"stem": 8, "widths": (16, 32), "depths": (1, 2)}
model = emotion_model("resse", {"fer7": 7, "fer8": 8}, side=32, dropout=0.0, **small)
model.set_weights([rng.normal(0, 0.05, w.shape) if w.ndim > 1 else w for w in model.get_weights()])
x = rng.normal(size=(16, 32, 32, 1)).astype("float32")
y = {"fer7": np.eye(7, dtype="float32")[rng.integers(0, 7, 16)],
     "fer8": np.eye(8, dtype="float32")[rng.integers(0, 8, 16)]}
y["fer8"][::3] = 0
model.compile(make_optimizer("sgd", 0.02, 0, 10, "constant"), loss=dict.fromkeys(y, focal(1.0)))
losses = [float(model.train_on_batch(x, y, return_dict=True)["loss"]) for _ in range(2)]
print(json.dumps({"backend": keras.backend.backend(), "losses": losses}))
"""


def losses(backend: str) -> list[float]:
    roots = os.pathsep.join(path for path in sys.path if Path(path, "edgeharfer").is_dir())
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": roots,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles in less time than it saves
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == backend
    return [float(loss) for loss in found["losses"]]


@pytest.mark.skipif(len(BACKENDS) < 2, reason="only one of TensorFlow, JAX and PyTorch is installed")
def test_a_step_is_the_same_on_every_backend() -> None:
    pytest.importorskip("keras")
    first, *others = [losses(backend) for backend in BACKENDS]
    assert first[1] < first[0]
    for other in others:
        assert other == pytest.approx(first, rel=1e-3)

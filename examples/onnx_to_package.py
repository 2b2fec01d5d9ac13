"""Your own ONNX model to a package

`edgeharfer export` makes a package from an ONNX file, such as an export of PyTorch. The file does not say how
pictures were prepared in training, or what the classes are called, so that is given. The package then works
with `run`, `analyze`, the app and `Pipeline`.

The argument is a model of faces with seven classes. Without it, a small one with random weights is made.

It needs `pip install '.[cpu,export]'`.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeharfer.runtime import Pipeline, open_source

LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def make_model(path: Path) -> Path:
    """Write a model as PyTorch would export it: channels first, logits."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(8, 3, 5, 5)),
        "dense": random.normal(size=(8, 7)),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["features"], strides=[2, 2]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


model = Path(sys.argv[1]) if len(sys.argv) > 1 else make_model(Path("out/classifier.onnx"))
Path("out").mkdir(exist_ok=True)
Path("out/labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
options = ["--labels", "out/labels.txt", "--normalize", "imagenet", "--out", "out/own-onnx"]
subprocess.run([sys.executable, "-m", "edgeharfer", "export", model, *options], check=True)

with Pipeline(emotion="out/own-onnx", action=None) as pipeline, open_source("demo") as source:
    result = pipeline.process(source.read().bgr)
for face in result.faces:
    print({label: round(prob, 3) for label, prob in face.emotion.probs.items()})

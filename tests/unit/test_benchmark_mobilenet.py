"""The encoder unit is the MobileNetV2 that it stands for."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from edgeharfer.benchmark.mobilenet import FEATURES, SIDE, encoder_unit
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.scan import scan_onnx
from edgeharfer.runtime.inference.session import make_session

MAC_AT_112 = 80_903_808
"""Multiplications of the convolutions of Keras's MobileNetV2, alpha 1.0, at 112 pixels (80.9 M)."""
WEIGHTS = 2_189_760 + 17_056
"""Of those convolutions, and of one bias for each channel in the place of batch normalisation."""


def test_the_file_is_sound_and_does_what_the_encoder_does() -> None:
    model = onnx.load_from_string(encoder_unit())
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in inferred.value_info
    }
    weights = {one.name: list(one.dims) for one in inferred.initializer}
    products = (
        math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        for node in inferred.node
        if node.op_type == "Conv"
    )
    assert sum(products) == MAC_AT_112
    assert sum(math.prod(shape) for shape in weights.values() if shape) == WEIGHTS


def test_the_runtime_takes_it() -> None:
    info = scan_onnx(encoder_unit(), "unit")
    assert info.inputs[0].shape == (1, SIDE, SIDE, 3)
    assert info.nodes["Conv"] == 52
    picture = np.random.default_rng(1).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    features = make_session(Graph.scan(encoder_unit())).run1(picture)
    assert features.shape == (1, FEATURES)
    assert np.isfinite(features).all() and features.std() > 0


@pytest.mark.parametrize(("side", "last"), [(112, 4), (224, 7), (96, 3)])
def test_maps_shrink_as_kerass_do(side: int, last: int) -> None:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(encoder_unit(side))).graph
    pooled = next(node for node in inferred.node if node.op_type == "GlobalAveragePool").input[0]
    shapes = {
        one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in inferred.value_info
    }
    assert shapes[pooled] == [1, FEATURES, last, last]

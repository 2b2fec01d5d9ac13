"""TensorFlow Lite files: graphs that give what LiteRT gives, of every kind that converters write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeharfer.export import backend
from edgeharfer.export.foreign import ForeignFile, convert_file, score_file
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session

keras: Any = backend.load("keras")
tf: Any = backend.load("tensorflow")

SIDE = 12


def noise(number: int) -> Iterator[list[Any]]:
    rng = np.random.default_rng(2)
    for _ in range(number):
        yield [rng.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)]


def converted(kind: str) -> bytes:
    """A small picture classifier for [-1, 1] as a TensorFlow Lite file."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    given = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(given)
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, activation="relu6")(x))
    if kind == "gelu":
        x = keras.ops.gelu(keras.ops.gelu(x, approximate=False) * 2.0, approximate=True)
    spread = keras.initializers.RandomNormal(0, 2.0)
    model = keras.Model(given, layers.Dense(3, activation="softmax", kernel_initializer=spread)(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind not in ("float32", "gelu"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("uint8", "int8"):
        converter.representative_dataset = lambda: noise(20)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
    with backend.quiet():
        return bytes(converter.convert())


def file_of(folder: Path, data: bytes) -> ForeignFile:
    path = folder / "m.tflite"
    path.write_bytes(data)
    return ForeignFile(path, "tflite")


@pytest.mark.parametrize(
    ("kind", "atol"),
    [
        ("float32", 1e-5),
        ("float16", 1e-5),
        ("weights", 1e-5),
        ("gelu", 1e-5),
        ("uint8", 0.05),
        ("int8", 0.05),
    ],
)
def test_the_graph_gives_what_litert_gives(tmp_path: Path, kind: str, atol: float) -> None:
    file = file_of(tmp_path, converted(kind))
    imported = convert_file(file)
    assert (imported.axes.order, imported.axes.layout, imported.batch) == ("nhwc", "nchw", None)
    assert "Transpose" not in {one.op_type for one in imported.model.graph.node}
    pixels = np.random.default_rng(6).integers(0, 256, (4, 3, SIDE, SIDE)).astype(np.float32)
    # A quantized input takes raw pixels.
    inputs = pixels if kind in ("uint8", "int8") else pixels / 127.5 - 1
    assert (imported.scaling is not None) == (kind in ("uint8", "int8"))
    scores = make_session(Graph.scan(imported.model.SerializeToString())).run1(inputs)
    expected = score_file(file, imported.axes.to_file(inputs))
    np.testing.assert_allclose(scores, expected, atol=atol)
    assert ("quantized" in imported.notes) == (kind in ("uint8", "int8"))


def test_dense_layers_with_8_bit_weights_alone(tmp_path: Path) -> None:
    """LiteRT rounds what they read; the package does not."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    hidden = layers.Dense(8, activation="relu", kernel_initializer=keras.initializers.RandomNormal(0, 0.1))
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Flatten(), hidden, layers.Dense(3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with backend.quiet():
        file = file_of(tmp_path, bytes(converter.convert()))
    imported = convert_file(file)
    assert "activations are not rounded" in imported.notes["quantized"]
    inputs = np.random.default_rng(6).uniform(-1, 1, (4, *imported.axes.shape)).astype(np.float32)
    scores = make_session(Graph.scan(imported.model.SerializeToString())).run1(inputs)
    expected = score_file(file, imported.axes.to_file(inputs))
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(scores, expected, atol=0.02)


def clips() -> bytes:
    """A classifier of clips of four frames as a TensorFlow Lite file."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    trunk = [layers.Conv2D(6, 3, strides=2, activation="relu"), layers.GlobalAveragePooling2D()]
    spread = keras.initializers.RandomNormal(0, 2.0)
    head = [layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax", kernel_initializer=spread)]
    given = keras.Input((4, SIDE, SIDE, 3), batch_size=1)
    model = keras.Sequential([given, *(layers.TimeDistributed(one) for one in trunk), *head])
    with backend.quiet():
        return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def test_clips_give_what_litert_gives(tmp_path: Path) -> None:
    file = file_of(tmp_path, clips())
    imported = convert_file(file)
    assert (imported.axes.frames, imported.axes.order) == (4, "nthwc")
    inputs = np.random.default_rng(6).uniform(-1, 1, (2, *imported.axes.shape)).astype(np.float32)
    session = make_session(Graph.scan(imported.model.SerializeToString()))
    expected = score_file(file, imported.axes.to_file(inputs))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(session.run1(inputs), expected, atol=1e-5)


def test_custom_operators_are_named(tmp_path: Path) -> None:
    """The same length as the name of an operator in the file's table of operators."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(converted("float32"), 0))
    code = model.operatorCodes[-1]
    code.builtinCode, code.deprecatedBuiltinCode = (
        schema.BuiltinOperator.CUSTOM,
        schema.BuiltinOperator.CUSTOM,
    )
    code.customCode = b"FlexRoll"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    with pytest.raises(
        ModelError, match="custom operator FlexRoll: convert the model with built-in operators"
    ):
        convert_file(file_of(tmp_path, bytes(builder.Output())))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged, or not a TensorFlow Lite model"),
        (b"PK\x03\x04 an archive", "damaged, or not a TensorFlow Lite model"),
        (b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40, "cannot be converted to ONNX"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_file(file_of(tmp_path, data))

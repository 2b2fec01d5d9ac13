"""Loading of model files without running code that they contain."""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeharfer.export import backend, keras2, keras3_hdf5, tf_functions
from edgeharfer.export.head import output_units
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.source import MAX_TEXT_BYTES, ModelSource
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError, first_line
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import read_regular_file

if TYPE_CHECKING:
    from edgeharfer.export.onnx_import import ImportedGraph

Shape = tuple[int | None, ...]

MAX_WEIGHT_BYTES = 2 * MAX_MODEL_BYTES
"""Maximum size of a model's weights: that of the two graphs of a package together."""
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Maximum size of an unpacked .keras file, which may also contain the optimizer's state."""

# Factors of pixels are about 1/255; those of values between 0 and 1 are at least 1.
_PIXEL_SCALE = 0.2
_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
_ARITHMETIC = ("Multiply", "Divide", "TrueDivide", "Add", "Subtract")
# Layers that may come before the scaling: they move or drop values. Those called Random... only train.
_BEFORE_SCALING = (
    *("GaussianNoise", "Dropout", "Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D", "Permute"),
    *("Reshape", "Identity", "GetItem", "Stack", "Flip", "Take", "Cast", "ReverseChannels"),
)

# Keras also refuses most of these in safe mode, but only after it has built other layers.
_CODE = ("Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TorchModuleWrapper")
_CODE_PREFIXES = ("Jax", "Flax")
_WEIGHTS = "model.weights.h5"
_MODELS = ("Functional", "Model", "Sequential")
"""Classes of whole models in Keras 2 and 3."""
_KNOWN_MODULES = ("keras.", "tf_keras.", "tensorflow.keras.", "tensorflow.python.keras.")


@dataclass(frozen=True)
class LoadedModel:
    """A model with a picture or clip as its only input and a row of scores as its only output.

    Attributes:
        name: The file, for errors.
        call: Function from a batch to its scores: of TensorFlow, except for an imported graph.
        input_shape: Including the batch axis.
        output_shape: Including the batch axis.
        keras: The functional Keras model; None for other files.
        layout: Order of the axes of a picture: "nhwc" or "nchw".
        dtype: Other arithmetic than float32 in which the model was saved, such as "mixed_float16"; `call`
            computes in float32.
        imported: The graph of an ONNX or TensorFlow Lite file; None for other files.
    """

    name: str
    call: Callable[[Any], Any]
    input_shape: Shape
    output_shape: Shape
    keras: Any = None
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: str | None = None
    imported: ImportedGraph | None = None

    @classmethod
    def from_graph(cls, name: str, call: Callable[[Any], Any], graph: ImportedGraph) -> LoadedModel:
        """Return a model whose graph was imported; `call` computes the scores of the original."""
        shape, scores = (None, *graph.axes.shape), (None, *graph.scores)
        return cls(name, call, shape, scores, layout=graph.axes.layout, imported=graph)

    @property
    def reads_clips(self) -> bool:
        """Whether the input has an axis of frames."""
        return len(self.input_shape) in (3, 5)

    @property
    def per_frame(self) -> bool:
        """Whether the model gives a row of scores for each frame of a clip."""
        return self._units is not None and self._units[1]

    @property
    def units(self) -> int | None:
        """Number of scores in a row; None if the output is not a row of scores."""
        return None if self._units is None else self._units[0]

    @property
    def _units(self) -> tuple[int, bool] | None:
        frames = self.input_shape[1] if self.reads_clips else 1
        return output_units(self.output_shape, frames or 2)

    @property
    def last_layer(self) -> str:
        """The file with its last layer, for errors."""
        if self.keras is None:
            return f"{self.name}: its output"
        last = self.keras.outputs[0]._keras_history.operation
        return f"{self.name}: layer {last.name!r} ({type(last).__name__})"

    @property
    def scaling_layer(self) -> str | None:
        """Name of the layer that scales raw pixels, if the model begins with one."""
        if self.imported is not None:
            return self.imported.scaling
        found = _scaling_layer(self.keras) if self.keras is not None else None
        return None if found is None else str(found.name)


def load_keras_model(source: ModelSource, options: ModelOptions) -> LoadedModel:
    """Load a Keras file.

    Args:
        source: The model.
        options: What its file does not say.

    Raises:
        ModelError: The file is damaged, contains code, or is not a classifier of one input.
        ConfigError: The model has several outputs and none was chosen.
    """
    name = str(source.model)
    try:
        config, version = read_config(source)
        if keras2.is_keras2(version, config):
            config = tf_functions.rewrite(config)
        _check_config(config, name)
        with backend.quiet():
            return _from_keras(_build(source, config, version), name, options, source.head)
    except EdgeharferError:
        raise
    except Exception as error:  # Keras, h5py and zipfile raise many types for damaged files.
        raise ModelError(f"{name}: cannot be loaded: {first_line(error)}") from error


def _build(source: ModelSource, config: dict[str, Any], version: str | None) -> Any:
    """Create the model with its weights."""
    keras = backend.load("keras")
    name = str(source.model)
    file = source.weights or source.model
    if keras2.is_keras2(version, config):
        model = keras2.build(config, name)
    elif source.kind == "keras":
        return keras.models.load_model(source.model, compile=False, safe_mode=True)
    else:
        model = keras.saving.deserialize_keras_object(keras3_hdf5.with_modules(config), safe_mode=True)
    if source.kind == "keras" or file.name.endswith(".weights.h5"):
        model.load_weights(file)
        return model
    with backend.load("h5py").File(file, "r") as opened:
        keras2.assign_weights(model, opened.get("model_weights", opened), str(file))
    return model


def as_functional(model: Any) -> Any:
    """Return a functional model: converts Sequential, and unwraps a model that only contains another one."""
    keras = backend.load("keras")
    if not isinstance(model, keras.Sequential) and not hasattr(model, "operations"):
        raise ModelError(f"{model.name}: a subclassed model has no layer graph: export it as a SavedModel")
    is_chain = isinstance(model, keras.Sequential)
    functional = keras.Model(model.inputs[0], model.outputs[0]) if is_chain else model
    inner = [one for one in functional.operations if not isinstance(one, keras.layers.InputLayer)]
    if len(inner) == 1 and isinstance(inner[0], keras.Sequential | keras.Model):
        return as_functional(inner[0])
    return functional


def _from_keras(model: Any, name: str, options: ModelOptions, head: str | None) -> LoadedModel:
    keras = backend.load("keras")
    if getattr(model, "inputs", None) is None:
        raise ModelError(f"{name}: the shape of its input is unknown: build the model before you save it")
    if len(model.inputs) != 1:
        raise ModelError(f"{name}: takes {len(model.inputs)} inputs, but only one image or clip is supported")
    model = as_functional(model)
    dtype = _dtype(model, name)
    model = _convertible(_in_float32(model, dtype))
    outputs = dict(zip(model.output_names, model.outputs, strict=True))
    output = outputs[chosen_output(outputs, name, options.output or head)]
    single = keras.Model(model.inputs[0], output)

    def call(batch: Any) -> Any:
        return single(batch, training=False)

    shape = tuple(model.inputs[0].shape)
    first = any(getattr(one, "data_format", None) == "channels_first" for one in single._flatten_layers())
    layout = layout_of(shape, options, channels_first=first)
    return LoadedModel(name, call, shape, tuple(output.shape), single, layout, dtype)


def _dtype(model: Any, name: str) -> str | None:
    """Return the first dtype policy of a layer that is not float32; None if there is none.

    Raises:
        ModelError: A layer is quantized.
    """
    policies = {one.name: one.dtype_policy.name for one in model._flatten_layers() if one.weights}
    for layer, policy in policies.items():
        if "_from_" in policy:
            raise ModelError(
                f"{name}: layer {layer!r} is quantized ({policy}): export the model before `quantize`"
            )
    return next((name for name in policies.values() if name != "float32"), None)


def _in_float32(model: Any, dtype: str | None) -> Any:
    """Return the same model in float32, for any batch size, and without states between batches."""
    fixed = model.inputs[0].shape[0] is not None
    if (
        not fixed
        and dtype is None
        and not any(getattr(one, "stateful", False) for one in model._flatten_layers())
    ):
        return model
    made = type(model).from_config(_plain_config(model.get_config()))
    for variable, value in zip(made.weights, model.weights, strict=True):
        variable.assign(np.asarray(value).astype(np.float32))
    return made


def _convertible(model: Any) -> Any:
    """Change how layers compute the same in place, where tf2onnx cannot convert what Keras calls.

    Grouped convolutions run in XLA, and the numbers of an adapted Normalization become inputs of the graph.
    """
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Normalization" and layer.built:
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
        is_convolution = type(layer).__name__ in ("Conv1D", "Conv2D")
        if is_convolution and layer.groups > 1 and layer.data_format == "channels_last":
            layer.convolution_op = functools.partial(_grouped_convolution, layer)
    return model


def _grouped_convolution(layer: Any, inputs: Any, kernel: Any) -> Any:
    tf = backend.load("tensorflow")
    return tf.nn.convolution(
        inputs,
        kernel,
        strides=list(layer.strides),
        padding=layer.padding.upper(),
        data_format="NHWC" if kernel.shape.rank == 4 else "NWC",
        dilations=list(layer.dilation_rate),
    )


def _plain_config(part: Any) -> Any:
    """Change the settings in a configuration that `_in_float32` names."""
    if isinstance(part, list | tuple):
        return [_plain_config(one) for one in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _plain_config(value) for key, value in part.items()}
    if "dtype" in changed and (isinstance(changed["dtype"], dict) or changed["dtype"] in _FLOATS):
        changed["dtype"] = "float32"
    if "stateful" in changed:
        changed["stateful"] = False
    if isinstance(changed.get("batch_shape"), list):
        changed["batch_shape"] = [None, *changed["batch_shape"][1:]]
    return changed


def chosen_output(outputs: Collection[str], name: str, wanted: str | None) -> str:
    """Return the name of the given output, or of the only one.

    Raises:
        ModelError: There is none of that name.
        ConfigError: None was given, and there are several.
    """
    if wanted is not None and wanted not in outputs:
        raise ModelError(f"{name}: has no output {wanted!r}; its outputs are {', '.join(outputs)}")
    if wanted is None and len(outputs) != 1:
        raise ConfigError(f"{name}: has several outputs ({', '.join(outputs)}): choose one with --output")
    return wanted or next(iter(outputs))


def layout_of(
    shape: Shape, options: ModelOptions, *, channels_first: bool = False
) -> Literal["nhwc", "nchw"]:
    """Return the given layout, or that of the layers or of the input's shape."""
    if options.layout != "auto":
        return options.layout
    is_reordered = len(shape) in (4, 5) and shape[-1] not in (1, 3) and shape[-3] in (1, 3)
    return "nchw" if channels_first or is_reordered else "nhwc"


def _scaling_layer(model: Any) -> Any:
    """The first layer that computes something, if it scales values of 0 to 255; None otherwise."""
    for layer in _layers(model):
        if type(layer).__name__ in _BEFORE_SCALING or type(layer).__name__.startswith("Random"):
            continue
        linear = _linear(layer)
        if linear is None:
            return None
        scale, offset = (float(np.max(np.abs(np.asarray(one)))) for one in linear)
        # Other scalings are of values that are small already.
        return layer if scale and (scale < _PIXEL_SCALE or offset / scale > 1 / _PIXEL_SCALE) else None
    return None


def _linear(layer: Any) -> tuple[Any, Any] | None:
    """Return scale and offset of a layer that computes scale * x + offset; None for others."""
    kind = type(layer).__name__
    if kind == "Rescaling":
        return layer.scale, layer.offset
    if kind == "Normalization":
        deviation = np.sqrt(np.maximum(np.asarray(layer.variance), 1e-7))
        return 1 / deviation, np.asarray(layer.mean) / deviation
    nodes = getattr(layer, "_inbound_nodes", None)
    given: Sequence[Any] = nodes[0].arguments.args if nodes else ()
    if kind not in _ARITHMETIC or len(given) != 2 or hasattr(given[1], "_keras_history"):
        return None
    value = np.asarray(given[1], np.float64)
    return {
        "Multiply": (value, 0),
        "Divide": (1 / value if value.all() else value, 0),
        "TrueDivide": (1 / value if value.all() else value, 0),
        "Add": (1, value),
        "Subtract": (1, value),
    }[kind]


def _layers(model: Any) -> Iterator[Any]:
    """Yield the layers after the input, those of nested models and inside wrappers included."""
    keras = backend.load("keras")
    for one in as_functional(model).operations:
        if isinstance(one, keras.layers.InputLayer):
            continue
        while isinstance(one, keras.layers.TimeDistributed):
            one = one.layer
        if isinstance(one, keras.Model):
            yield from _layers(one)
        else:
            yield one


def read_config(source: ModelSource) -> tuple[dict[str, Any], str | None]:
    """Read the architecture of a file as JSON, and the version of Keras that wrote it."""
    name, h5py, version = str(source.model), backend.load("h5py"), None
    if source.kind == "hdf5":
        with h5py.File(source.model, "r") as file:
            text, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
            _check_weights(file.get("model_weights", file), name)
        if text is None:
            raise ModelError(
                f"{name}: contains weights but no model: save the whole model, or pass the architecture's "
                "JSON file as MODEL and this file as --weights"
            )
    elif source.kind == "json":
        text = read_regular_file(source.model, MAX_TEXT_BYTES)
        with h5py.File(source.weights, "r") as file:
            _check_weights(file.get("model_weights", file), str(source.weights))
    else:
        with zipfile.ZipFile(source.model) as archive:
            if sum(one.file_size for one in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise ModelError(f"{name}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            text = archive.read("config.json")
            if "metadata.json" in archive.namelist():
                version = json.loads(archive.read("metadata.json")).get("keras_version")
            with archive.open(_WEIGHTS) as weights, h5py.File(weights, "r") as file:
                _check_weights(file.get("layers", file), name)
    config = json.loads(text)
    if not isinstance(config, dict):
        return {}, version
    return config, config.pop("keras_version", version)


def _check_weights(group: Any, name: str) -> None:
    """Check the declared size of the weights before they are allocated."""
    sizes: list[int] = []
    group.visititems(lambda _, one: sizes.append(one.nbytes) if hasattr(one, "nbytes") else None)
    if sum(sizes) > MAX_WEIGHT_BYTES:
        raise ModelError(
            f"{name}: its weights take {sum(sizes) / 1e9:.1f} GB, more than the "
            f"{MAX_WEIGHT_BYTES / 1e9:.1f} GB that a package can contain"
        )


def _check_config(config: dict[str, Any], name: str) -> None:
    """Refuse models and layers that contain code or are not part of Keras."""
    if config.get("class_name", "Functional") not in _MODELS:
        raise ModelError(
            f"{name}: its class {config['class_name']!r} is code, which the file does not contain: save the "
            "model as a SavedModel with model.export(FOLDER)"
        )
    for part, layer in config_parts(config, "?"):
        class_name, module = part["class_name"], part.get("module")
        known = module in (None, "builtins") or f"{module}.".startswith(_KNOWN_MODULES)
        if class_name in _CODE or class_name.startswith(_CODE_PREFIXES):
            raise ModelError(
                f"{name}: layer {layer!r} ({class_name}) contains code, which is never run: replace it by a "
                "layer of Keras, or save the model as a SavedModel"
            )
        # A name with ">" is a registered custom class: package>class.
        if not known or ">" in class_name or part.get("registered_name") not in (None, class_name):
            raise ModelError(f"{name}: layer {layer!r} ({class_name}) is not part of Keras: replace it")


def config_parts(config: Any, layer: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each serialized object with the name of its layer."""
    if isinstance(config, list):
        for one in config:
            yield from config_parts(one, layer)
    if not isinstance(config, dict):
        return
    inner = config.get("config")
    if isinstance(config.get("class_name"), str):
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            layer = inner["name"]
        yield config, layer
    for key, one in config.items():
        # Parts that only training needs are never built.
        if key not in ("compile_config", "training_config"):
            yield from config_parts(one, layer)

"""Loading of model files of every kind, without running code that they contain."""

from __future__ import annotations

from edgeharfer.export.foreign import ForeignFile
from edgeharfer.export.keras_model import LoadedModel, load_keras_model
from edgeharfer.export.onnx_import import ImportOptions
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.saved_model import load_saved_model
from edgeharfer.export.source import FOREIGN, ModelSource


def load_model(source: ModelSource, options: ModelOptions | None = None) -> LoadedModel:
    """Load a model.

    Args:
        source: The model.
        options: What its file does not say.

    Raises:
        ModelError: The file is damaged or unsafe, contains code, or is not a classifier of one input.
        ConfigError: The file leaves something open that the options do not say, such as one of its outputs.
    """
    options = options or ModelOptions()
    if source.kind in FOREIGN:
        return _load_foreign(source, options)
    load = load_saved_model if source.kind == "savedmodel" else load_keras_model
    return load(source, options)


def _load_foreign(source: ModelSource, options: ModelOptions) -> LoadedModel:
    """Load an ONNX or TensorFlow Lite file."""
    asked = ImportOptions(options.output, options.layout, options.frames, options.size)
    file = ForeignFile(source.model, source.kind, asked)
    made = file.convert()
    return LoadedModel.from_graph(str(source.model), lambda batch: file.scores(batch, made.axes), made)

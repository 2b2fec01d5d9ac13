"""Models from ONNX and TensorFlow Lite files."""

from __future__ import annotations

from edgeharfer.export.foreign import ForeignFile
from edgeharfer.export.keras_model import LoadedModel
from edgeharfer.export.onnx_import import ImportOptions
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.source import ModelSource


def load_foreign(source: ModelSource, options: ModelOptions) -> LoadedModel:
    """Load an ONNX or TensorFlow Lite file.

    Raises:
        ModelError: The file is damaged or unsafe, or not a classifier of one input.
        ConfigError: The file leaves something open that the options do not say.
    """
    asked = ImportOptions(options.output, options.layout, options.frames, options.size)
    file = ForeignFile(source.model, source.kind, asked)
    made = file.convert()
    return LoadedModel(
        str(source.model),
        lambda batch: file.scores(batch, made.axes),
        (None, *made.axes.shape),
        (None, *made.scores),
        layout=made.axes.layout,
        imported=made,
    )

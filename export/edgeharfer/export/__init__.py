"""Export of Keras models to model packages: ONNX conversion, splitting, parity, INT8, receipts."""

from edgeharfer.export.exporter import export_model
from edgeharfer.export.int8 import Int8Options, quantize_package
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.source import read_labels
from edgeharfer.runtime.inference.manifest import PRECISIONS

__all__ = ["PRECISIONS", "Int8Options", "ModelOptions", "export_model", "quantize_package", "read_labels"]

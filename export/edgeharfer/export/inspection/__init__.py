"""What a model file takes and gives, whether `export` takes it, and what fits it on labelled data."""

from edgeharfer.export.inspection.description import ModelDescription, TensorDescription
from edgeharfer.export.inspection.inspect import GivenFacts, Inspection, inspect_model

__all__ = ["GivenFacts", "Inspection", "ModelDescription", "TensorDescription", "inspect_model"]

"""The description of a model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

Shape = tuple[int | str | None, ...]

LISTED = 8
"""Operators and labels that the text lists."""


@dataclass(frozen=True)
class TensorDescription:
    """An input or output.

    Attributes:
        name: Name in the file.
        shape: Sizes; free ones are names or None.
        dtype: Type of the values, such as "float32".
    """

    name: str
    shape: Shape
    dtype: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.dtype} {' x '.join('?' if one is None else str(one) for one in self.shape)}"
        )


@dataclass(frozen=True)
class ModelDescription:
    """What a model file takes and gives.

    Attributes:
        file: The file.
        kind: "keras", "hdf5", "json", "savedmodel", "onnx", "tflite" or "package".
        made_by: Program and version that wrote it; None if the file does not say.
        inputs: Its inputs.
        outputs: Its outputs.
        reads: What the first input looks like: "picture", "clip", "features" or None.
        layout: Order of the input's axes, "nhwc" or "nchw", by the place of 1 or 3 channels; None if unclear.
        operators: Number of layers (Keras) or operators, by kind.
        parameters: Number of weights.
        size_bytes: Size of the file.
        scaling: First operators, if they scale the input: the graph takes raw pixels then.
        ending: Kind of the last operator: "softmax", "sigmoid", "logits", or the name of another one.
        labels: Known class names, by where they were found.
        notes: Further facts.
    """

    file: str
    kind: str
    made_by: str | None = None
    inputs: Sequence[TensorDescription] = ()
    outputs: Sequence[TensorDescription] = ()
    reads: str | None = None
    layout: str | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None
    size_bytes: int | None = None
    scaling: Sequence[str] = ()
    ending: str | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def completed(self) -> ModelDescription:
        """Return the description with the guesses that follow from the first input."""
        first = self.inputs[0] if self.inputs else TensorDescription("", (), "")
        return replace(
            self,
            reads=self.reads or what_it_reads(first.shape),
            layout=self.layout or guess_layout(first.shape),
            scaling=self.scaling or (["input of bytes"] if first.dtype in ("uint8", "int8") else []),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Format the description as text."""
        by = f", {self.made_by}" if self.made_by else ""
        size = f", {self.size_bytes / 1e6:.2f} MB" if self.size_bytes is not None else ""
        yield f"{self.file}: {self.kind}{by}{size}"
        for what, tensors in (("takes", self.inputs), ("gives", self.outputs)):
            for tensor in tensors:
                yield f"  {what:10} {tensor}"
        if self.reads is not None:
            yield f"  {'reads':10} a {self.reads}" + (f", layout {self.layout}" if self.layout else "")
        if self.parameters is not None:
            yield f"  {'parameters':10} {self.parameters:,}"
        if self.operators:
            most = sorted(self.operators.items(), key=lambda pair: (-pair[1], pair[0]))
            shown = ", ".join(f"{count} {name}" for name, count in most[:LISTED])
            yield f"  {'layers':10} {shown}" + (", …" if len(most) > LISTED else "")
        if self.scaling:
            yield f"  {'scaling':10} by the graph ({', '.join(self.scaling)}): it takes raw pixels"
        elif self.kind != "package":
            yield f"  {'scaling':10} not in the graph: it must be given with --normalize"
        if self.ending is not None:
            yield f"  {'ends in':10} {self.ending}"
        for where, names in self.labels.items():
            shown = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
            yield f"  {'labels':10} {len(names)} in {where}: {shown}"
        for note in self.notes:
            yield f"  {'note':10} {note}"


def what_it_reads(shape: Shape) -> str | None:
    """Guess what an input of this shape, with a batch axis, is."""
    if len(shape) == 4:
        return "picture"
    if len(shape) == 5:
        return "clip"
    return "sequence of features" if len(shape) == 3 else None


def guess_layout(shape: Shape) -> str | None:
    """Guess the layout of pictures or clips by the axis that has 1 or 3 channels."""
    if len(shape) not in (4, 5):
        return None
    if shape[-1] in (1, 3):
        return "nhwc"
    return "nchw" if shape[-3] in (1, 3) or (len(shape) == 5 and shape[1] in (1, 3)) else None

"""ONNX and TensorFlow Lite files, read and run in a child process.

    python -m edgeharfer.export.foreign convert|score FOLDER

These files come from anywhere, and native code reads them, which may crash, exhaust memory or never end on a
damaged one. FOLDER has request.json, and inputs.npy to score; the results are written there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.onnx_axes import CHANNELS_LAST, Axes
from edgeharfer.export.onnx_file import read_onnx
from edgeharfer.export.onnx_graph import copy_model
from edgeharfer.export.onnx_import import (
    OLDEST_OPSET,
    ImportedGraph,
    ImportOptions,
    import_graph,
    only_input,
    opset_of,
    pick_output,
    runnable,
)
from edgeharfer.export.original import OnnxOriginal, Original, TfliteOriginal
from edgeharfer.export.tflite_file import read_tflite, tflite_to_onnx
from edgeharfer.runtime.child import run_child, signal_name
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.types import Floats

CONVERT_S = 600.0
"""Deadline for a conversion. A ResNet50 takes about 20 s on two slow cores, most of it for imports."""
SCORE_S = 600.0
"""Deadline for the scores of the original file."""

_REQUEST, _GRAPH, _FACTS, _INPUTS, _SCORES = (
    "request.json",
    "graph.onnx",
    "facts.json",
    "inputs.npy",
    "scores.npy",
)
_CONFIG_ERROR = 3
"""Exit code of the child for a ConfigError; ModelError has 2."""


@dataclass(frozen=True)
class ForeignFile:
    """A file of another tool.

    Attributes:
        path: The file.
        kind: "onnx" or "tflite".
        options: What the caller says of it.
    """

    path: Path
    kind: str
    options: ImportOptions = field(default_factory=ImportOptions)

    def convert(self) -> ImportedGraph:
        """Convert the file.

        Raises:
            ModelError: It is damaged or unsafe, or cannot be converted.
            ConfigError: The options do not fit the file.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._run("convert", Path(folder), CONVERT_S)
            facts = json.loads(Path(folder, _FACTS).read_text(encoding="utf-8"))
            axes = Axes(**{**facts["axes"], "sizes": tuple(facts.pop("axes")["sizes"])})
            facts["scores"] = tuple(facts["scores"])
            model = backend.load("onnx").load(str(Path(folder, _GRAPH)))
        return ImportedGraph(model, axes, **facts)

    def scores(self, inputs: Floats, axes: Axes) -> Floats:
        """Return the file's own scores, float32 (n, classes).

        Args:
            inputs: In the order of axes that the runtime gives.
            axes: Axes of the file's input.

        Raises:
            ModelError: The file's own engine cannot run it.
        """
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder, _INPUTS), axes.to_file(inputs))
            self._run("score", Path(folder), SCORE_S)
            return np.asarray(np.load(Path(folder, _SCORES)), np.float32)

    def _run(self, command: str, folder: Path, limit_s: float) -> None:
        request = {"path": str(self.path), "kind": self.kind, "options": asdict(self.options)}
        (folder / _REQUEST).write_text(json.dumps(request), encoding="utf-8")
        try:
            code, why = run_child(__name__, command, str(folder), timeout_s=limit_s)
        except TimeoutError as error:
            raise ModelError(
                f"{self.path}: no result within {limit_s:g} s: the graph is too large"
            ) from error
        except OSError as error:
            raise ModelError(f"{self.path}: a child process cannot be started: {error.strerror}") from error
        if name := signal_name(code):
            raise ModelError(f"{self.path}: damaged: it crashes the library that reads it ({name})")
        if code and why and code not in (_CONFIG_ERROR, ModelError.exit_code):
            raise ModelError(f"{self.path}: cannot be converted: {why}")
        if code:
            kind = ConfigError if code == _CONFIG_ERROR else ModelError
            raise kind(why or f"{self.path}: cannot be read (exit code {code})")


def convert_file(file: ForeignFile) -> ImportedGraph:
    """Convert a file in this process. Raises like `ForeignFile.convert`."""
    name = str(file.path)
    if file.kind == "tflite":
        data = read_tflite(file.path)
        model = tflite_to_onnx(data, name)
        result = pick_output(model, name, file.options.output).name
        original: Original = TfliteOriginal(data, name, result)
        layout = CHANNELS_LAST.get(len(only_input(model, name).type.tensor_type.shape.dim))
        return import_graph(model, name, file.options, original, layout=layout)
    read = read_onnx(file.path)
    model = runnable(read, name)
    made = import_graph(copy_model(model), name, file.options, onnx_original(model, name, file.options))
    if model is not read:
        how = f"converted to {opset_of(made.model)}, and compared with its form in opset {OLDEST_OPSET}"
        made.notes["opset"] = f"{opset_of(read)}, {how}"
    return made


def onnx_original(model: Any, name: str, options: ImportOptions) -> OnnxOriginal:
    """Return an ONNX model on its own engine."""
    output = pick_output(model, name, options.output)
    return OnnxOriginal(model, name, only_input(model, name).name, output.name)


def score_file(file: ForeignFile, inputs: Floats) -> Floats:
    """Return the file's own scores of inputs in its own layout, float32 (n, classes)."""
    name = str(file.path)
    if file.kind == "tflite":
        original: Original = TfliteOriginal(read_tflite(file.path), name, file.options.output)
    else:
        original = onnx_original(runnable(read_onnx(file.path), name), name, file.options)
    return np.stack([original.scores(one[None]).ravel() for one in inputs])


def main(arguments: Sequence[str]) -> int:
    """Entry point of the child process: return its exit code and write errors to standard error."""
    command, folder = arguments[0], Path(arguments[1])
    request: Mapping[str, Any] = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    options = dict(request["options"])
    size = options.pop("size")
    file = ForeignFile(
        Path(request["path"]),
        request["kind"],
        ImportOptions(**options, size=None if size is None else (size[0], size[1])),
    )
    try:
        if command == "score":
            np.save(folder / _SCORES, score_file(file, np.load(folder / _INPUTS)))
            return 0
        made = convert_file(file)
        facts = {key: value for key, value in vars(made).items() if key not in ("model", "axes")}
        text = json.dumps({**facts, "axes": asdict(made.axes)})
        (folder / _FACTS).write_text(text, encoding="utf-8")
        (folder / _GRAPH).write_bytes(made.model.SerializeToString(deterministic=True))
    except EdgeharferError as error:
        sys.stderr.write(f"{error}\n")
        return _CONFIG_ERROR if isinstance(error, ConfigError) else ModelError.exit_code
    except MemoryError:
        sys.stderr.write(f"{file.path}: not enough memory\n")
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The model to export: a model file, or the folder of a training run with its record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.strict_json import load_json

FACTS = "package.json"
LABELS = "labels.json"
CARD = "MODELCARD.md"
RUN_MODEL = "model.keras"
HDF5 = (".h5", ".hdf5")
FOREIGN = ("onnx", "tflite")
"""Kinds of files whose graph is not of Keras or TensorFlow."""
KINDS = {".keras": "keras", **dict.fromkeys(HDF5, "hdf5"), **{f".{kind}": kind for kind in FOREIGN}}
"""Kinds of model files by their endings."""

_HDF5_SIGNATURE, _ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_NUMBERED = re.compile(r"(?P<number>[0-9]{1,5})[ \t:,;=.)]+(?P<name>\S.*)")
# Teachable Machine puts the labels beside the model, under these names.
_TEACHABLE_MODELS = ("keras_model.h5", "model.savedmodel", "model_unquant.tflite", "model.tflite")
_TEACHABLE_LABELS = "labels.txt"

MAX_TEXT_BYTES = 4 * 1024 * 1024
_OWN_KEYS = ("head", "packages")
_MANIFEST_KEYS = (
    *(
        "task",
        "name",
        "labels",
        "input",
        "encoder",
        "output",
        "temperature",
        "threshold",
        "background_threshold",
        "crop",
        "window",
        "prior",
    ),
    *("auto", "options", "training", "accuracy"),
)


@dataclass(frozen=True)
class ModelSource:
    """A model and the record of its training.

    Attributes:
        model: File or folder of the model.
        kind: "keras" (zip), "hdf5", "onnx", "tflite", "savedmodel", or "json" for an architecture whose
            weights are apart.
        facts: Recorded manifest keys.
        head: Name of the output to export from a model with several.
        card: Text of the model card.
        where: File that the facts come from, for errors.
        weights: HDF5 file of the weights of a "json" model.
    """

    model: Path
    kind: str
    facts: Mapping[str, object] = field(default_factory=dict)
    head: str | None = None
    card: str | None = None
    where: str = "export"
    weights: Path | None = None

    def receipt(self) -> dict[str, object]:
        """Return file name, size and SHA-256; of all files in order for a folder or weights apart."""
        digest, size = hashlib.sha256(), 0
        files = (
            [self.model] if self.model.is_file() else sorted(p for p in self.model.rglob("*") if p.is_file())
        )
        files += [self.weights] if self.weights is not None else []
        for path in files:
            if path != self.model:
                inside = path.relative_to(self.model).as_posix() if self.model.is_dir() else path.name
                digest.update(inside.encode() + b"\0")
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
                    size += len(block)
        apart = {"weights": self.weights.name} if self.weights is not None else {}
        return {"file": self.model.name, **apart, "bytes": size, "sha256": digest.hexdigest()}


def find_source(path: Path, name: str | None = None, weights: Path | None = None) -> ModelSource:
    """Find the model at a path.

    Args:
        path: Model file, SavedModel, or folder of a training run.
        name: Which package of a run to export; required if it has several.
        weights: HDF5 file of the weights of a .json architecture.

    Raises:
        ModelError: There is no model, or its record is damaged.
        ConfigError: The run has several packages and `name` is none of them, or the weights are missing or
            do not belong to a .json file.
    """
    if path.is_file() and path.suffix.lower() == ".json":
        return ModelSource(path, "json", weights=_weights_of(path, weights))
    if weights is not None:
        raise ConfigError(f"{path}: has its own weights: --weights belongs to a .json architecture")
    if not path.exists():
        raise ModelError(
            f"{path}: no such model: pass a .keras, .h5, .hdf5, .onnx or .tflite file, a SavedModel or a "
            "run's folder"
        )
    if path.is_dir() and (path / RUN_MODEL).is_file():
        return _run(path, name)
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return ModelSource(path, "savedmodel", _labels_beside(path))
    if path.is_dir():
        raise ModelError(f"{path}: neither a training run ({RUN_MODEL}) nor a SavedModel (saved_model.pb)")
    if kind := KINDS.get(path.suffix.lower()):
        return ModelSource(path, _kind_by_content(path, kind), _labels_beside(path))
    raise ModelError(
        f"{path}: not a .keras, .h5, .hdf5, .onnx or .tflite file, nor the .json of an architecture"
    )


def _kind_by_content(path: Path, kind: str) -> str:
    """Return the kind of a file; TensorFlow before 2.12 wrote HDF5 to files named .keras.

    Raises:
        ModelError: The file cannot be read, or is a .keras file with the ending of HDF5, by which Keras would
            read it.
    """
    if kind in FOREIGN:
        return kind
    try:
        with path.open("rb") as file:
            start = file.read(len(_HDF5_SIGNATURE))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if kind == "keras" and start == _HDF5_SIGNATURE:
        return "hdf5"
    if kind == "hdf5" and start.startswith(_ZIP_SIGNATURE):
        raise ModelError(f"{path}: a .keras file with the ending of another kind: rename it to .keras")
    return kind


def _labels_beside(path: Path) -> dict[str, object]:
    """Return the labels that Teachable Machine exports beside a model."""
    labels = path.with_name(_TEACHABLE_LABELS)
    if path.name not in _TEACHABLE_MODELS or not labels.is_file():
        return {}
    return {"labels": list(read_labels(labels))}


def _weights_of(path: Path, weights: Path | None) -> Path:
    if weights is None:
        raise ConfigError(f"{path}: an architecture without weights: pass their .h5 file as --weights")
    if not weights.is_file() or weights.suffix.lower() not in HDF5:
        raise ConfigError(f"{weights}: no such .h5 or .hdf5 file of weights")
    return weights


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names in the order of the outputs.

    Args:
        path: JSON with a list, `{"labels": [...]}` (Teachable Machine's metadata.json), or an object that
            maps indices to names or names to indices; or text with one name per line, which may be numbered
            from 0 (Teachable Machine's labels.txt).

    Raises:
        ModelError: The file has another form.
    """
    content = read_regular_file(path, MAX_TEXT_BYTES)
    if path.suffix.lower() != ".json":
        lines = [line.strip() for line in _decode(content, path).splitlines()]
        return _without_numbers([line for line in lines if line])
    data = load_json(content, str(path))
    labels = data.get("labels", data) if isinstance(data, dict) else data
    if isinstance(labels, dict):
        labels = _in_order(labels)
    if not isinstance(labels, list) or not labels or not all(isinstance(one, str) for one in labels):
        raise ModelError(
            f"{path}: must be a list of class names, or an object of numbers 0, 1, 2, ... and names"
        )
    return tuple(labels)


def _without_numbers(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the names of numbered lines such as "0 wave" in order; other lines as they are."""
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    by_number = {int(match["number"]): match["name"] for match in matches if match is not None}
    if len(by_number) != len(lines) or set(by_number) != set(range(len(lines))):
        return tuple(lines)
    return tuple(by_number[number] for number in range(len(lines)))


def _in_order(labels: Mapping[str, object]) -> list[object] | None:
    """Return the names of {"0": "angry", ...} or {"angry": 0, ...}; None unless indices are 0 to n - 1."""
    by_number: dict[int, object] = {}
    for key, value in labels.items():
        if isinstance(value, int) and not isinstance(value, bool):
            by_number[value] = key
        elif key.isascii() and key.isdigit():
            by_number[int(key)] = value
    whole = len(by_number) == len(labels) and set(by_number) == set(range(len(labels)))
    return [by_number[number] for number in range(len(labels))] if whole else None


def resolve_labels(labels: Sequence[str] | Path | None) -> tuple[str, ...] | None:
    """Return labels that are given as names or as the file that holds them."""
    return read_labels(labels) if isinstance(labels, Path) else None if labels is None else tuple(labels)


def _run(folder: Path, name: str | None) -> ModelSource:
    path = folder / FACTS
    record = _read_facts(path) if path.exists() else {}
    facts, picked = _pick(record, name, str(path))
    if "labels" not in facts and (folder / LABELS).exists():
        facts["labels"] = list(read_labels(folder / LABELS))
    head = facts.pop("head", None)
    if head is not None and not isinstance(head, str):
        raise ModelError(f"{path}: head: must be the name of an output")
    return ModelSource(folder / RUN_MODEL, "keras", facts, head, _card(folder, picked), str(path))


def _read_facts(path: Path) -> dict[str, object]:
    data = load_json(read_regular_file(path, MAX_TEXT_BYTES), str(path))
    if not isinstance(data, dict):
        raise ModelError(f"{path}: must be an object")
    return data


def _pick(record: dict[str, object], name: str | None, where: str) -> tuple[dict[str, object], str | None]:
    """Merge the facts of a run with those of the chosen package; if there is only one, `name` renames it."""
    packages = record.get("packages", {})
    if not isinstance(packages, dict) or not all(isinstance(one, dict) for one in packages.values()):
        raise ModelError(f"{where}: packages: must be an object of objects")
    common = {key: value for key, value in record.items() if key != "packages"}
    if not packages:
        return check_keys(common, where), name
    only = next(iter(packages)) if len(packages) == 1 else None
    picked = name if name in packages else only
    if picked is None:
        raise ConfigError(
            f"{where}: contains several packages: choose one with --name from {', '.join(packages)}"
        )
    return check_keys({**common, **packages[picked], "name": name or picked}, where), picked


def check_keys(facts: dict[str, object], where: str) -> dict[str, object]:
    """Return the facts.

    Raises:
        ModelError: A key is not one that a training run may record.
    """
    if unknown := sorted(set(facts) - {*_MANIFEST_KEYS, *_OWN_KEYS}):
        raise ModelError(
            f"{where}: unknown key {unknown[0]!r}; known keys: {', '.join(_MANIFEST_KEYS + _OWN_KEYS)}"
        )
    return facts


def _card(folder: Path, name: str | None) -> str | None:
    """Read the card of a package, or that of the run."""
    for path in (folder / f"MODELCARD.{name}.md", folder / CARD):
        if path.exists():
            return _decode(read_regular_file(path, MAX_TEXT_BYTES), path)
    return None


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text") from error

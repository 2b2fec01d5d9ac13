"""The manifest of a model package: the only place for model facts, parsed strictly.

Every key stands in the tables below with its reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.strict_json import (
    any_object,
    boolean,
    choice,
    fail,
    integer,
    key_path,
    list_of,
    load_json,
    mapping_of,
    number,
    record,
    text,
)

Precision = Literal["fp32", "fp16", "int8"]
Reads = Literal["face", "frame", "clip"]

FORMAT = 1
MAX_MODEL_BYTES = 512 * 1024 * 1024
MAX_OTHER_BYTES = 64 * 1024 * 1024
"""Of a file that is no graph."""
MAX_PACKAGE_BYTES = 1024 * 1024 * 1024
MAX_FILES = 200
"""Of all files together: each is read and hashed when a package is verified, which takes its time."""
FACES = "faces"
"""The task of face detectors: their graphs read whole frames and give boxes, as `options` describe them."""
ROLES: Mapping[Reads, tuple[str, ...]] = MappingProxyType(
    {"face": ("model",), "frame": ("model",), "clip": ("encoder", "head")}
)
"""The graphs of a package by what it reads."""
ROLLING = "rolling"
"""A graph that a package for clips may also hold: its head, one frame at a time."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
NORMALIZATIONS = ("none", "unit", "symmetric", "standardize", "imagenet")


@dataclass(frozen=True)
class InputSpec:
    """What one picture looks like when it enters the model: float32, (height, width, channels)."""

    width: int
    height: int
    color: Literal["gray", "rgb", "bgr"]
    normalize: Literal["none", "unit", "symmetric", "standardize", "imagenet"]
    clahe: bool = False

    @property
    def channels(self) -> int:
        """Length of the last axis."""
        return 1 if self.color == "gray" else 3


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut: along its eyes or its box, `expand` boxes wide, moved down by `shift_y` boxes."""

    align: Literal["eyes", "box"]
    expand: float
    shift_y: float


@dataclass(frozen=True)
class WindowSpec:
    """What a model of clips reads: `frames` pictures over `seconds`, with no gap over `max_gap_s`."""

    frames: int
    seconds: float
    max_gap_s: float


@dataclass(frozen=True)
class ValueSpec:
    """A number that a model gives: its name and its unit, such as "degrees"; no unit is ""."""

    name: str
    unit: str = ""


@dataclass(frozen=True)
class FileSpec:
    """One model file of the package and what its bytes must be."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All facts of a package.

    task: what it is for; the tasks that ship are those of `runtime.tasks`, and FACES.
    labels, values: the classes or the numbers that the graph gives, in the order of its outputs; one of them.
    output: what the graph gives, probabilities, logits or values; logits go through softmax(x / temperature).
    crop: how a face is cut, for packages that read faces. window: the clip, for packages that read clips.
    reads: "face", "frame" or "clip"; None leaves it to `kind`.
    prior: {"data": class shares in training, "package": the balanced ones that `run` assumes}, as labels go.
    files: {precision: {role: FileSpec}}. auto: {"cpu" | "cuda" | "tensorrt": precision to take there}.
    training, accuracy: free facts for people. options: settings of the task's decoder (anchors), and
    files of other engines, each as a FileSpec is written. beside: the papers, once they were signed.
    """

    format: int
    name: str
    task: str
    labels: tuple[str, ...] = ()
    values: tuple[ValueSpec, ...] = ()
    reads: Reads | None = None
    input: InputSpec
    output: Literal["probs", "logits", "values"]
    files: Mapping[str, Mapping[str, FileSpec]]
    opset: int
    temperature: float = 1.0
    threshold: float = 0.0
    crop: CropSpec | None = None
    window: WindowSpec | None = None
    prior: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    auto: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    accuracy: Mapping[str, object] = field(default_factory=dict)
    beside: tuple[FileSpec, ...] = ()

    @property
    def other_files(self) -> dict[str, FileSpec]:
        """The files that are no graphs, by name: those of `options` and of `beside`."""
        named = [value for value in self.options.values() if _names_file(value)]
        specs = [*(_OTHER(value, "options") for value in named), *self.beside]
        return {spec.file: spec for spec in specs}

    @property
    def kind(self) -> Reads:
        """What the model reads: cut faces, whole frames, or clips, which are windows of frames.

        Where the manifest does not say, a window means clips, and anything but a detector reads faces.
        """
        if self.reads is not None:
            return self.reads
        if self.task == FACES:
            return "frame"
        return "clip" if self.window is not None and self.crop is None else "face"

    @property
    def value_names(self) -> tuple[str, ...]:
        """The names of the numbers that the model gives; none for classes."""
        return tuple(value.name for value in self.values)

    @property
    def outputs(self) -> int:
        """How many numbers the graph gives for one input: one for each label or value."""
        return len(self.labels) or len(self.values)

    @property
    def roles(self) -> tuple[str, ...]:
        """The graphs that make up one model, without those that it may also hold."""
        return ROLES[self.kind]

    def precision_for(self, provider: str, asked: str = "auto") -> str:
        """What to run with: the precision asked for, or the one of `auto` for "cpu", "cuda" or "tensorrt"."""
        if asked == "auto":
            return self.auto.get(provider) or ("fp32" if "fp32" in self.files else next(iter(self.files)))
        if asked not in self.files:
            raise ModelError(f"{self.name} has no {asked} files: choose from {', '.join(self.files)}")
        return asked


def parse_manifest(content: str | bytes, where: str) -> Manifest:
    """A Manifest from JSON; `where` names the file in errors. Raises ModelError."""
    manifest = _MANIFEST(load_json(content, where), where)
    _check_consistency(manifest, where)
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """Canonical JSON: declared order of keys, free facts sorted, what is empty left out."""
    data = {key: _plain(value) for key, value in vars(manifest).items() if value not in (None, {}, ())}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, InputSpec | CropSpec | WindowSpec | ValueSpec | FileSpec):
        return vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _names_file(value: object) -> bool:
    return isinstance(value, Mapping) and "file" in value


def _options(value: object, where: str) -> Mapping[str, object]:
    """Free, except for what says that it is a file: that is checked like any other."""
    options = any_object(value, where)
    for key, one in options.items():
        if _names_file(one):
            _OTHER(one, key_path(where, key))
    return options


_POSITIVE = 1e-6
_SHA256 = text(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")
# A plain name: what a manifest says can never reach outside its folder.
_GRAPH_NAME = text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.onnx", "a plain file name that ends in .onnx")
_OTHER_NAME = text(r"(?!manifest\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", "a plain file name")
_FILE = record(FileSpec, {"file": _GRAPH_NAME, "bytes": integer(1, MAX_MODEL_BYTES), "sha256": _SHA256})
_OTHER = record(FileSpec, {"file": _OTHER_NAME, "bytes": integer(0, MAX_OTHER_BYTES), "sha256": _SHA256})
_INPUT = record(
    InputSpec,
    {
        "width": integer(1, 4096),
        "height": integer(1, 4096),
        "color": choice("gray", "rgb", "bgr"),
        "normalize": choice(*NORMALIZATIONS),
        "clahe": boolean,
    },
)
_CROP = record(
    CropSpec, {"align": choice("eyes", "box"), "expand": number(0.1, 10), "shift_y": number(-2, 2)}
)
_WINDOW = record(
    WindowSpec,
    {"frames": integer(1, 1024), "seconds": number(_POSITIVE, 3600), "max_gap_s": number(_POSITIVE, 3600)},
)
_NAME = text(r"\S|\S[^\x00-\x1f]{0,98}\S", "a name of 1 to 100 characters")
_VALUE = record(
    ValueSpec, {"name": _NAME, "unit": text(r"[^\x00-\x1f]{0,40}", "a unit of up to 40 characters")}
)
_MANIFEST = record(
    Manifest,
    {
        "format": integer(FORMAT, FORMAT),
        "name": text(r"[a-z0-9][a-z0-9._-]{0,63}", "a name of lower-case letters, digits, '.', '_' and '-'"),
        "task": text(r"[a-z][a-z0-9_-]{0,39}", "a name of lower-case letters, digits, '_' and '-'"),
        "labels": list_of(_NAME, 1, 10_000),
        "values": list_of(_VALUE, 1, 10_000),
        "reads": choice(*ROLES),
        "input": _INPUT,
        "output": choice("probs", "logits", "values"),
        "files": mapping_of(PRECISIONS, mapping_of(("model", "encoder", "head", ROLLING), _FILE)),
        "opset": integer(7, 1000),
        "temperature": number(_POSITIVE, 1000),
        "threshold": number(0, 1),
        "crop": _CROP,
        "window": _WINDOW,
        "prior": mapping_of(("data", "package"), list_of(number(0, 1), 1, 10_000)),
        "auto": mapping_of(("cpu", "cuda", "tensorrt"), choice(*PRECISIONS)),
        "options": _options,
        "training": any_object,
        "accuracy": any_object,
        "beside": list_of(_OTHER, 1, 100),
    },
)


def _check_consistency(manifest: Manifest, where: str) -> None:
    """What no single key can tell."""
    for key, names in (("labels", manifest.labels), ("values", manifest.value_names)):
        if len(set(names)) != len(names):
            fail(key_path(where, key), f"a {key[:-1]} stands twice")
    if not manifest.labels and not manifest.values:
        fail(where, "key labels is missing; a package gives labels or values")
    if manifest.labels and manifest.values:
        fail(key_path(where, "values"), "must not stand beside labels: a package gives one of them")
    if (manifest.output == "values") != bool(manifest.values):
        fail(key_path(where, "output"), "must be values for a package with values, and for no other")
    if not manifest.files:
        fail(key_path(where, "files"), "holds no precision")
    specs = [spec for files in manifest.files.values() for spec in files.values()]
    specs += manifest.other_files.values()
    if len(specs) > MAX_FILES or sum(spec.bytes for spec in specs) > MAX_PACKAGE_BYTES:
        megabytes = MAX_PACKAGE_BYTES // 1024**2
        fail(key_path(where, "files"), f"names more than {MAX_FILES} files, or more than {megabytes} MiB")
    for precision, files in manifest.files.items():
        optional = {ROLLING} if manifest.kind == "clip" else set()
        if set(files) - optional != set(manifest.roles):
            fail(f"{where}: files.{precision}", f"must hold exactly {' and '.join(manifest.roles)}")
    for provider, precision in manifest.auto.items():
        if precision not in manifest.files:
            fail(f"{where}: auto.{provider}", f"the package has no {precision} files")
    for key, spec, kind in (("crop", manifest.crop, "face"), ("window", manifest.window, "clip")):
        if (spec is not None) != (manifest.kind == kind):
            fail(key_path(where, key), f"belongs in each package that reads {kind}s and in no other")
    for name, prior in manifest.prior.items():
        if len(prior) != len(manifest.labels) or not math.isclose(sum(prior), 1.0, abs_tol=1e-3):
            fail(f"{where}: prior.{name}", "must be one share for each label, together 1")

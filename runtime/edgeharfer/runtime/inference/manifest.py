"""The manifest of a model package: everything that the runtime knows about a model, strictly validated.

The tables below list every key with its validator.
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
InputKind = Literal["face", "frame", "clip"]

FORMAT = 1
MAX_MODEL_BYTES = 512 * 1024 * 1024
"""Limit for one ONNX file."""
MAX_OTHER_BYTES = 64 * 1024 * 1024
"""Limit for one file that is not an ONNX graph."""
MAX_PACKAGE_BYTES = 1024 * 1024 * 1024
"""Limit for all files of a package."""
MAX_FILES = 200
"""Limit for the number of files, each of which is read and hashed when a package is verified."""
FACES = "faces"
"""Task of face detectors. Their graphs read whole frames and return boxes as described by `options`."""
POSE = "pose"
"""Package and task of joints; also the value of `Manifest.encoder` for heads that read them."""
ROLES: Mapping[InputKind, tuple[str, ...]] = MappingProxyType(
    {"face": ("model",), "frame": ("model",), "clip": ("encoder", "head")}
)
"""The graphs of a package by its kind of input."""
ROLLING = "rolling"
"""Optional graph of a package that reads clips: its head, for one frame at a time."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
CPU_WITHOUT_VNNI = "cpu-without-vnni"
"""Key of `Manifest.auto` for x86 processors on which sums of 8-bit products saturate, see `processor`."""
TENSORRT = ("tensorrt", "tensorrt-rtx")
"""Providers that take the precision from the types of a graph, see `typed_form`."""
NORMALIZATIONS = ("none", "unit", "symmetric", "standardize", "imagenet")


@dataclass(frozen=True)
class InputSpec:
    """Input of the model for one image: float32, in the form of `shape`.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        color: Colour channels and their order; "gray3" has the grey level in each of three channels.
        normalize: Normalisation, see `preprocess.normalize`.
        clahe: Apply local contrast equalisation (CLAHE) first.
        mean: Subtracted from each channel after `normalize`, which is then "none" or "unit", in the order of
            the channels.
        std: Each channel is divided by it after that.
        fit: How an image of another aspect ratio becomes the input: "stretch" scales width and height
            independently, "center" cuts the largest centred part of the input's aspect ratio.
        layout: Order of the axes: "nhwc" for (height, width, channels), "nchw" for (channels, height, width).
    """

    width: int
    height: int
    color: Literal["gray", "rgb", "bgr", "gray3"]
    normalize: Literal["none", "unit", "symmetric", "standardize", "imagenet"]
    clahe: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: Literal["stretch", "center"] = "stretch"
    layout: Literal["nhwc", "nchw"] = "nhwc"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.color == "gray" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the input for one image."""
        if self.layout == "nchw":
            return self.channels, self.height, self.width
        return self.height, self.width, self.channels

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form; keys that a manifest may omit are left out if they have their defaults."""
        optional = {"mean": list(self.mean), "std": list(self.std), "fit": self.fit, "layout": self.layout}
        changed = {key: value for key, value in optional.items() if value not in ([], "stretch", "nhwc")}
        return {key: value for key, value in vars(self).items() if key not in optional} | changed


@dataclass(frozen=True)
class CropSpec:
    """How a face is cropped.

    Attributes:
        align: Rotate the face so that its eyes are level ("eyes"), or keep its box upright ("box").
        expand: Side of the crop, as a multiple of the longer side of the face box.
        shift_y: Shift of the centre downwards, as a multiple of the same side.
    """

    align: Literal["eyes", "box"]
    expand: float
    shift_y: float


@dataclass(frozen=True)
class WindowSpec:
    """The clip that a model reads.

    Attributes:
        frames: Number of frames.
        seconds: Duration of the clip.
        max_gap_s: Longest accepted gap between two frames, seconds.
    """

    frames: int
    seconds: float
    max_gap_s: float


@dataclass(frozen=True)
class ValueSpec:
    """A numeric output of a model.

    Attributes:
        name: Name of the value.
        unit: Its unit, such as "degrees"; empty for a value without a unit.
    """

    name: str
    unit: str = ""


@dataclass(frozen=True)
class FileSpec:
    """A file of the package and its expected content.

    Attributes:
        file: Name of the file.
        bytes: Size in bytes.
        sha256: SHA-256, hexadecimal.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of a model package.

    Attributes:
        format: Version of the manifest format.
        name: Name of the package.
        task: Name of the task, one of `runtime.tasks` or FACES.
        labels: Classes in the order of the graph's outputs. A package has either labels or values.
        values: Numeric outputs in the same order.
        reads: Input of the model, "face", "frame" or "clip"; None to derive it, see `kind`.
        input: Preprocessing of one image.
        encoder: Included package that encodes the pictures of a clip in place of a graph of this package:
            "pose", so that the head reads `tasks.joints.joint_features` of the joints of the main person.
        output: Meaning of the graph's outputs; logits are converted by softmax(x / temperature).
        files: {precision: {role: FileSpec}}.
        opset: ONNX opset of the graphs.
        temperature: Temperature of the softmax.
        threshold: Score below which no class is reported.
        background_threshold: The same for the class "background"; None uses `threshold`.
        crop: How faces are cropped, for packages that read faces.
        window: The clip, for packages that read clips.
        prior: Class shares in the order of `labels`: "data" for those in training, "package" for the balanced
            ones that `run` assumes.
        auto: {"cpu" | CPU_WITHOUT_VNNI | "cuda" | one of TENSORRT: precision to use there}.
        options: Settings of the task's decoder, and files for other engines, each written like a FileSpec.
        training: Free-form facts about the training.
        accuracy: Free-form facts about the accuracy.
        beside: Further signed files, such as the model card.
    """

    format: int
    name: str
    task: str
    labels: tuple[str, ...] = ()
    values: tuple[ValueSpec, ...] = ()
    reads: InputKind | None = None
    input: InputSpec
    encoder: Literal["pose"] | None = None
    output: Literal["probs", "logits", "values"]
    files: Mapping[str, Mapping[str, FileSpec]]
    opset: int
    temperature: float = 1.0
    threshold: float = 0.0
    background_threshold: float | None = None
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
        """The files that are not graphs by name: those of `options` and `beside`."""
        named = [value for value in self.options.values() if _names_file(value)]
        specs = [*(_OTHER(value, "options") for value in named), *self.beside]
        return {spec.file: spec for spec in specs}

    @property
    def kind(self) -> InputKind:
        """What the model reads: cropped faces, whole frames, or clips.

        If `reads` is None, a package with a window reads clips, and any other package except a face detector
        reads faces.
        """
        if self.reads is not None:
            return self.reads
        if self.task == FACES:
            return "frame"
        return "clip" if self.window is not None and self.crop is None else "face"

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of the numeric outputs; empty for classes."""
        return tuple(value.name for value in self.values)

    @property
    def outputs(self) -> int:
        """Number of outputs for one input: one for each label or value."""
        return len(self.labels) or len(self.values)

    @property
    def roles(self) -> tuple[str, ...]:
        """The required graphs of the package."""
        return ROLES[self.kind] if self.encoder is None else ("head",)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that can be used: those of the files, and FP16, which is made from FP32."""
        return tuple(
            one for one in PRECISIONS if one in self.files or (one == "fp16" and "fp32" in self.files)
        )

    def precision_for(self, provider: str, requested: str = "auto") -> str:
        """Choose a precision.

        Args:
            provider: A key of `auto`. CPU_WITHOUT_VNNI takes that of "cpu" if there is none, and
                "tensorrt-rtx" that of "tensorrt".
            requested: A precision, or "auto" for the one that the manifest recommends for the provider.

        Raises:
            ModelError: The package has no files of the requested precision.
        """
        if requested == "auto":
            fallback = "fp32" if "fp32" in self.files else next(iter(self.files))
            if provider in _LIKE:
                fallback = self.auto.get(_LIKE[provider], fallback)
            return self.auto.get(provider, fallback)
        if requested not in self.precisions:
            raise ModelError(f"{self.name} has no {requested} files: choose from {', '.join(self.files)}")
        return requested


def parse_manifest(content: str | bytes, where: str) -> Manifest:
    """Parse and validate a manifest.

    Args:
        content: JSON.
        where: Name of the file in error messages.

    Raises:
        ModelError: The manifest is invalid.
    """
    manifest = _MANIFEST(load_json(content, where), where)
    _check_consistency(manifest, where)
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """Serialise a manifest to canonical JSON.

    Keys keep their declared order, free-form facts are sorted and empty values are omitted.
    """
    data = {key: _plain(value) for key, value in vars(manifest).items() if value not in (None, {}, ())}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, InputSpec):
        return value.to_dict()
    if isinstance(value, CropSpec | WindowSpec | ValueSpec | FileSpec):
        return vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _names_file(value: object) -> bool:
    return isinstance(value, Mapping) and "file" in value


def _options(value: object, where: str) -> Mapping[str, object]:
    """Validate options: free-form, except for entries that describe a file."""
    options = any_object(value, where)
    for key, one in options.items():
        if _names_file(one):
            _OTHER(one, key_path(where, key))
    return options


_LIKE = {CPU_WITHOUT_VNNI: "cpu", "tensorrt-rtx": "tensorrt"}
"""Keys of `auto` whose entry may stand under another one."""
_POSITIVE = 1e-6
_SHA256 = text(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")
# A plain name, so a manifest cannot refer to files outside its folder.
_GRAPH_NAME = text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.onnx", "a plain file name that ends in .onnx")
_OTHER_NAME = text(r"(?!manifest\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", "a plain file name")
_FILE = record(FileSpec, {"file": _GRAPH_NAME, "bytes": integer(1, MAX_MODEL_BYTES), "sha256": _SHA256})
_OTHER = record(FileSpec, {"file": _OTHER_NAME, "bytes": integer(0, MAX_OTHER_BYTES), "sha256": _SHA256})
_INPUT = record(
    InputSpec,
    {
        "width": integer(1, 4096),
        "height": integer(1, 4096),
        "color": choice("gray", "rgb", "bgr", "gray3"),
        "normalize": choice(*NORMALIZATIONS),
        "clahe": boolean,
        "mean": list_of(number(-1e6, 1e6), 1, 3),
        "std": list_of(number(_POSITIVE, 1e6), 1, 3),
        "fit": choice("stretch", "center"),
        "layout": choice("nhwc", "nchw"),
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
        "encoder": choice(POSE),
        "output": choice("probs", "logits", "values"),
        "files": mapping_of(PRECISIONS, mapping_of(("model", "encoder", "head", ROLLING), _FILE)),
        "opset": integer(7, 1000),
        "temperature": number(_POSITIVE, 1000),
        "threshold": number(0, 1),
        "background_threshold": number(0, 1),
        "crop": _CROP,
        "window": _WINDOW,
        "prior": mapping_of(("data", "package"), list_of(number(0, 1), 1, 10_000)),
        "auto": mapping_of(("cpu", CPU_WITHOUT_VNNI, "cuda", *TENSORRT), choice(*PRECISIONS)),
        "options": _options,
        "training": any_object,
        "accuracy": any_object,
        "beside": list_of(_OTHER, 1, 100),
    },
)


def _check_consistency(manifest: Manifest, where: str) -> None:
    """Check constraints between several keys."""
    for key, names in (("labels", manifest.labels), ("values", manifest.value_names)):
        if len(set(names)) != len(names):
            fail(key_path(where, key), f"duplicate {key[:-1]}")
    if not manifest.labels and not manifest.values:
        fail(where, "key labels is missing; a package needs labels or values")
    if manifest.labels and manifest.values:
        fail(key_path(where, "values"), "must not be combined with labels")
    if (manifest.output == "values") != bool(manifest.values):
        fail(key_path(where, "output"), 'must be "values" if the package has values, and only then')
    _check_input(manifest.input, key_path(where, "input"))
    if not manifest.files:
        fail(key_path(where, "files"), "contains no precision")
    specs = [spec for files in manifest.files.values() for spec in files.values()]
    specs += manifest.other_files.values()
    if len(specs) > MAX_FILES or sum(spec.bytes for spec in specs) > MAX_PACKAGE_BYTES:
        megabytes = MAX_PACKAGE_BYTES // 1024**2
        fail(key_path(where, "files"), f"lists more than {MAX_FILES} files or {megabytes} MiB")
    for precision, files in manifest.files.items():
        optional = {ROLLING} if manifest.kind == "clip" and manifest.encoder is None else set()
        if set(files) - optional != set(manifest.roles):
            fail(f"{where}: files.{precision}", f"must contain exactly {' and '.join(manifest.roles)}")
    for provider, precision in manifest.auto.items():
        if precision not in manifest.precisions:
            fail(f"{where}: auto.{provider}", f"the package has no {precision} files")
    for key, spec, kind in (("crop", manifest.crop, "face"), ("window", manifest.window, "clip")):
        if (spec is not None) != (manifest.kind == kind):
            fail(key_path(where, key), f"is required in packages that read {kind}s and not allowed in others")
    if manifest.encoder is not None and manifest.kind != "clip":
        fail(key_path(where, "encoder"), "is allowed only in packages that read clips")
    for name, prior in manifest.prior.items():
        if len(prior) != len(manifest.labels) or not math.isclose(sum(prior), 1.0, abs_tol=1e-3):
            fail(f"{where}: prior.{name}", "must contain one share per label, and the shares must sum to 1")


def _check_input(spec: InputSpec, where: str) -> None:
    """Check constraints between the keys of the input."""
    if spec.mean or spec.std:
        for key, values in (("mean", spec.mean), ("std", spec.std)):
            if len(values) != spec.channels:
                fail(f"{where}.{key}", f"must contain {spec.channels} numbers, one for each channel")
        if spec.normalize not in ("none", "unit"):
            fail(f"{where}.normalize", 'must be "none" or "unit" with a mean and a standard deviation')
    if spec.normalize == "imagenet" and spec.channels == 1:
        fail(f"{where}.normalize", "imagenet requires three channels")

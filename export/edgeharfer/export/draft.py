"""Draft of a manifest from the run's record, the loaded model and the caller's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeharfer.export.convert import OPSET
from edgeharfer.export.keras_model import LoadedModel
from edgeharfer.export.options import ModelOptions
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.inference.manifest import FORMAT, NORMALIZATIONS, InputKind
from edgeharfer.runtime.tasks import TASKS

READS: Mapping[int, InputKind] = {3: "clip", 4: "face", 5: "clip"}
"""By the number of axes of the input: a batch of windows of joint features, of pictures, or of clips.

A model of pictures can also read whole frames, as clips of one frame.
"""

_CLIP_TASKS = tuple(name for name, entry in TASKS.items() if entry.reads == "clip")

# Defaults for model files without a record: faces framed as in FER-2013, clips of two seconds.
_DEFAULT_CROP = asdict(FER_CROP)
_DEFAULT_WINDOW = {"seconds": 2.0, "max_gap_s": 0.5}
_ONE_FRAME_WINDOW = {"frames": 1, "seconds": 0.2, "max_gap_s": 0.5}

_NO_PICTURES = (
    "is neither an image nor a clip; for key points and similar input, write your own task (docs/python.md)"
)

Draft = dict[str, Any]


def draft_manifest(
    loaded: LoadedModel,
    facts: Mapping[str, object],
    *,
    name: str,
    task: str = "auto",
    labels: Sequence[str] | None = None,
    normalize: str = "auto",
    options: ModelOptions | None = None,
) -> Draft:
    """Return a manifest as JSON without `output` and `files`, which depend on the graphs.

    Args:
        loaded: The model.
        facts: Recorded manifest keys.
        name: Name of the package if `facts` has none.
        task: Overrides the recorded task unless "auto".
        labels: Overrides the recorded labels.
        normalize: Overrides the recorded normalization unless "auto".
        options: Further values that override what is recorded.

    Raises:
        ConfigError: A value is missing or does not fit the model.
        ModelError: The model or its record is unusable.
    """
    options = options or ModelOptions()
    draft: Draft = {key: value for key, value in facts.items() if key not in ("output", "head")}
    reads = _reads(task, draft, loaded, options)
    draft["task"] = _task(task, draft, loaded, reads)
    draft.setdefault("name", name)
    draft["labels"] = _labels(labels, draft, loaded)
    reads_joints = len(loaded.input_shape) == 3
    if reads_joints != ("encoder" in draft):
        shape = format_shape(loaded.input_shape)
        what = _NO_PICTURES if reads_joints else "does not fit the recorded encoder"
        raise ModelError(f"{loaded.name}: its input {shape} {what}")
    draft["input"] = (
        _part(draft, "input", loaded) if reads_joints else _input(normalize, draft, loaded, options)
    )
    if reads == "face":
        draft.setdefault("crop", _DEFAULT_CROP)
        draft.pop("window", None)
    else:
        draft["window"] = _window(draft, loaded, options)
        draft.pop("crop", None)
    return {"format": FORMAT, **draft, "opset": OPSET}


def package_name(text: str) -> str:
    """Turn text, such as a folder's name, into a valid package name."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text.lower())
    return plain.lstrip("._-")[:64] or "model"


def format_shape(shape: Sequence[object]) -> str:
    """Format a shape, such as `? x 48 x 48 x 1`."""
    return " x ".join("?" if one is None else str(one) for one in shape)


def _reads(task: str, draft: Draft, loaded: LoadedModel, options: ModelOptions) -> InputKind:
    """Return what the model reads: a model of pictures reads faces unless an option says frames."""
    shape = format_shape(loaded.input_shape)
    if len(loaded.input_shape) not in READS:
        raise ModelError(f"{loaded.name}: its input {shape} {_NO_PICTURES}")
    reads = READS[len(loaded.input_shape)]
    if reads == "clip" and options.crop == "face":
        raise ConfigError(f"{loaded.name}: its input {shape} is a clip of frames: remove --crop face")
    if reads == "clip" or options.crop == "face":
        return reads
    wanted = task if task != "auto" else draft.get("task")
    return "clip" if options.reads_frames or wanted in _CLIP_TASKS else "face"


def _task(task: str, draft: Draft, loaded: LoadedModel, reads: InputKind) -> str:
    """Return the given or recorded task, or the shipped one that reads such an input."""
    default = next(name for name, entry in TASKS.items() if entry.reads == reads)
    wanted = str(task if task != "auto" else draft.get("task", default))
    if wanted in TASKS and TASKS[wanted].reads != reads:
        shape = format_shape(loaded.input_shape)
        raise ConfigError(f"{loaded.name}: its input {shape} fits the task {default}, not {wanted}")
    return wanted


def _window(draft: Draft, loaded: LoadedModel, options: ModelOptions) -> Draft:
    """Return the window of a model that reads clips."""
    defaults = _DEFAULT_WINDOW if len(loaded.input_shape) in (3, 5) else _ONE_FRAME_WINDOW
    given = {"frames": options.frames, "seconds": options.seconds}
    window = {**defaults, **_part(draft, "window", loaded)}
    fixed = loaded.input_shape[1] if len(loaded.input_shape) in (3, 5) else 1
    window |= {key: value for key, value in given.items() if value is not None}
    if fixed is None and "frames" not in window:
        raise ConfigError(f"{loaded.name}: the number of frames is not fixed: pass --frames")
    if fixed is not None and window.setdefault("frames", fixed) != fixed:
        raise ConfigError(f"{loaded.name}: reads {fixed} frames at a time, not {window['frames']}")
    return window


def _labels(labels: Sequence[str] | None, draft: Draft, loaded: LoadedModel) -> list[str]:
    names = list(labels) if labels is not None else draft.get("labels")
    if not isinstance(names, list):
        raise ConfigError(f"{loaded.name}: has no class names: pass --labels")
    units = loaded.units
    if units == 1 and len(names) == 1:
        raise ConfigError(
            f"{loaded.name}: one output unit separates two classes: pass two --labels, "
            "the class of low values first"
        )
    if units != len(names) and (units, len(names)) != (1, 2):
        shape = format_shape(loaded.output_shape)
        raise ConfigError(f"{loaded.name}: its output {shape} does not fit {len(names)} labels")
    return names


def _input(normalize: str, draft: Draft, loaded: LoadedModel, options: ModelOptions) -> Draft:
    """Return the preprocessing of a picture: of the graph, of the options, and else as recorded."""
    record = _part(draft, "input", loaded)
    channels_first = loaded.layout == "nchw"
    picture = loaded.input_shape[-3:]
    channels, height, width = picture if channels_first else (picture[2], *picture[:2])
    if channels not in (1, 3):
        shape = format_shape(picture)
        raise ModelError(f"{loaded.name}: takes images of {shape}: 1 or 3 channels are required")
    size = _size(record, (width, height), loaded, options)
    how = _normalization(normalize, record, loaded, options, channels)
    color = _color(record, channels, loaded, options)
    made = {**record, **size, "color": color, **how}
    if options.crop is not None:
        made["fit"] = "center" if options.crop == "center" else "stretch"
    return {**made, "layout": loaded.layout} if channels_first else made


def _size(
    record: Draft, fixed: tuple[int | None, int | None], loaded: LoadedModel, options: ModelOptions
) -> Draft:
    """Return width and height of the pictures."""
    size: Draft = {}
    given = options.size or (None, None)
    for key, graph_has, asked in zip(("width", "height"), fixed, given, strict=True):
        wanted = asked or record.get(key)
        value = graph_has or wanted
        if not isinstance(value, int):
            shape = format_shape(loaded.input_shape[-3:])
            raise ConfigError(f"{loaded.name}: takes images of {shape}: pass --size, such as 224 or 320x240")
        if wanted not in (None, value):
            taken = format_shape(loaded.input_shape[-3:])
            who = "--size" if asked else "its record"
            raise ConfigError(f"{loaded.name}: takes images of {taken}, but {who} has {key} {wanted}")
        size[key] = value
    return size


def _color(record: Draft, channels: int, loaded: LoadedModel, options: ModelOptions) -> str:
    """Return the colours of the pictures."""
    if options.channels is None:
        return str(record.get("color", "gray" if channels == 1 else "rgb"))
    if channels == 1 and options.channels != "gray":
        raise ConfigError(
            f"{loaded.name}: takes images with one channel, so --channels {options.channels} does not fit"
        )
    return "gray3" if (channels, options.channels) == (3, "gray") else options.channels


def _normalization(
    normalize: str, record: Draft, loaded: LoadedModel, options: ModelOptions, channels: int
) -> Draft:
    """Return the scaling of the pictures.

    Raises:
        ConfigError: It is unknown, or the graph scales its input already.
    """
    scaling = loaded.scaling_layer
    given = normalize not in ("auto", "none") or options.mean or options.std
    if scaling is not None and given:
        raise ConfigError(
            f"{loaded.name}: layer {scaling!r} already scales raw pixels: remove --normalize, --mean and "
            "--std"
        )
    if options.mean or options.std:
        return _mean_and_std(normalize, loaded, options, channels)
    how = normalize if normalize != "auto" else record.get("normalize")
    if how is None and scaling is None:
        known = ", ".join(NORMALIZATIONS)
        raise ConfigError(
            f"{loaded.name}: the scaling of its input is unknown: pass --normalize ({known}), or --mean and "
            "--std"
        )
    if normalize != "auto":
        record.pop("mean", None)
        record.pop("std", None)
    return {"normalize": how or "none"}


def _mean_and_std(normalize: str, loaded: LoadedModel, options: ModelOptions, channels: int) -> Draft:
    """Return `normalize`, `mean` and `std`, with the channels in the order of the model's.

    Without --normalize, numbers that fit pixels of 0 to 1 are of those: most programs state them so.
    """
    if normalize not in ("auto", "none", "unit"):
        raise ConfigError(
            f"{loaded.name}: --mean and --std require --normalize unit or none, not {normalize}"
        )
    mean, std = options.mean or (0.0,), options.std or (1.0,)
    if normalize == "auto":
        if not any(options.mean) and max(std) == 1:
            raise ConfigError(
                f"{loaded.name}: --mean and --std have no effect: pass --normalize unit or none"
            )
        small = max(map(abs, mean)) <= 1 and max(std) <= 1
        normalize = "unit" if small else "none"
    if channels == 1 and max(len(mean), len(std)) == 3:
        raise ConfigError(
            f"{loaded.name}: takes images with one channel: pass one number as --mean and --std"
        )
    order = -1 if options.channels == "bgr" else 1
    spread = {"mean": mean, "std": std}
    return {
        "normalize": normalize,
        **{key: list((one * channels)[:channels][::order]) for key, one in spread.items()},
    }


def _part(draft: Draft, key: str, loaded: LoadedModel) -> Draft:
    part = draft.get(key, {})
    if not isinstance(part, dict):
        raise ModelError(f"{loaded.name}: its record of {key} must be an object")
    return dict(part)

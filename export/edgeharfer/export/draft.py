"""Draft of a manifest from the run's record, the loaded model and the caller's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeharfer.export.convert import OPSET
from edgeharfer.export.keras_model import LoadedModel
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.inference.manifest import FORMAT, NORMALIZATIONS, InputKind
from edgeharfer.runtime.tasks import TASKS

READS: Mapping[int, InputKind] = {4: "face", 5: "clip"}
"""By the number of axes of the input: a batch of pictures, or of clips."""

# Defaults for model files without a record: faces framed as in FER-2013, clips of two seconds.
_DEFAULT_CROP = asdict(FER_CROP)
_DEFAULT_WINDOW = {"seconds": 2.0, "max_gap_s": 0.5}

Draft = dict[str, Any]


def draft_manifest(
    loaded: LoadedModel,
    facts: Mapping[str, object],
    *,
    name: str,
    task: str = "auto",
    labels: Sequence[str] | None = None,
    normalize: str = "auto",
) -> Draft:
    """Return a manifest as JSON without `output` and `files`, which depend on the graphs.

    Args:
        loaded: The model.
        facts: Recorded manifest keys.
        name: Name of the package if `facts` has none.
        task: Overrides the recorded task unless "auto".
        labels: Overrides the recorded labels.
        normalize: Overrides the recorded normalization unless "auto".

    Raises:
        ConfigError: A value is missing or does not fit the model.
        ModelError: The model or its record is unusable.
    """
    draft: Draft = {key: value for key, value in facts.items() if key not in ("output", "head")}
    draft["task"] = _task(task, draft, loaded)
    draft.setdefault("name", name)
    draft["labels"] = _labels(labels, draft, loaded)
    draft["input"] = _input(normalize, draft, loaded)
    if _reads(loaded) == "face":
        draft.setdefault("crop", _DEFAULT_CROP)
    else:
        draft["window"] = {**_DEFAULT_WINDOW, **_part(draft, "window", loaded)}
        draft["window"].setdefault("frames", loaded.input_shape[1])
    return {"format": FORMAT, **draft, "opset": OPSET}


def package_name(text: str) -> str:
    """Turn text, such as a folder's name, into a valid package name."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text.lower())
    return plain.lstrip("._-")[:64] or "model"


def format_shape(shape: Sequence[object]) -> str:
    """Format a shape, such as `? x 48 x 48 x 1`."""
    return " x ".join("?" if one is None else str(one) for one in shape)


def _task(task: str, draft: Draft, loaded: LoadedModel) -> str:
    """Return the given or recorded task, or the shipped one that reads such an input."""
    reads = _reads(loaded)
    default = next(name for name, entry in TASKS.items() if entry.reads == reads)
    wanted = str(task if task != "auto" else draft.get("task", default))
    if wanted in TASKS and TASKS[wanted].reads != reads:
        shape = format_shape(loaded.input_shape)
        raise ConfigError(f"{loaded.name}: its input {shape} fits the task {default}, not {wanted}")
    return wanted


def _reads(loaded: LoadedModel) -> InputKind:
    try:
        return READS[len(loaded.input_shape)]
    except KeyError as error:
        shape = format_shape(loaded.input_shape)
        raise ModelError(f"{loaded.name}: its input {shape} is neither a picture nor a clip") from error


def _labels(labels: Sequence[str] | None, draft: Draft, loaded: LoadedModel) -> list[str]:
    names = list(labels) if labels is not None else draft.get("labels")
    if not isinstance(names, list):
        raise ConfigError(f"{loaded.name}: has no class names: give --labels")
    if len(loaded.output_shape) != 2 or loaded.output_shape[1] != len(names):
        raise ConfigError(
            f"{loaded.name}: its output {format_shape(loaded.output_shape)} does not fit {len(names)} labels"
        )
    return names


def _input(normalize: str, draft: Draft, loaded: LoadedModel) -> Draft:
    """Return size and colour of the graph's input, and the other keys as recorded."""
    record = _part(draft, "input", loaded)
    height, width, channels = loaded.input_shape[-3:]
    height, width = height or record.get("height"), width or record.get("width")
    if channels not in (1, 3) or not isinstance(height, int) or not isinstance(width, int):
        shape = format_shape(loaded.input_shape[-3:])
        raise ModelError(
            f"{loaded.name}: takes pictures of {shape}: a fixed size and 1 or 3 channels are required"
        )
    for key, graph_has in (("height", height), ("width", width)):
        if record.get(key, graph_has) != graph_has:
            taken = format_shape(loaded.input_shape[-3:])
            raise ConfigError(
                f"{loaded.name}: takes pictures of {taken}, but its record has {key} {record[key]}"
            )
    how = normalize if normalize != "auto" else record.get("normalize")
    if how is None and not loaded.scales_itself:
        known = ", ".join(NORMALIZATIONS)
        raise ConfigError(f"{loaded.name}: the scaling of its input is unknown: give --normalize ({known})")
    size = {"width": width, "height": height, "color": "gray" if channels == 1 else "rgb"}
    return {**size, **record, "normalize": how or "none"}


def _part(draft: Draft, key: str, loaded: LoadedModel) -> Draft:
    part = draft.get(key, {})
    if not isinstance(part, dict):
        raise ModelError(f"{loaded.name}: its record of {key} must be an object")
    return dict(part)

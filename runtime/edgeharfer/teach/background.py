"""Windows of scenes in which nobody does any of the actions, as statistics of encoder features.

    python -m edgeharfer.teach.background --base action-ucf20 --out FILE NAME=PATH [NAME=PATH]...

makes the file that is shipped, from clips, or folders of clips, by the name of their source; scenes that look
alike, such as those of one camera, belong to one source. It has a few windows of each clip and no pixels. It
is one line of JSON, a row of float32 scales, and the windows as rows of uint8.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np

from edgeharfer.evaluate.dataset import CLIPS, files_ending
from edgeharfer.runtime.errors import EdgeharferError, ModelError, SourceError
from edgeharfer.runtime.inference.package import load_package, read_regular_file
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.strict_json import integer, list_of, load_json, reader_of, record, text
from edgeharfer.runtime.tasks import ACTION, TASKS
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.types import Floats
from edgeharfer.teach.enrolment import FORMAT, MAX_BYTES, MAX_FEATURES, SUFFIX, encoder_id
from edgeharfer.teach.examples import describe_clip, read_recording
from edgeharfer.teach.windows import PARTS

SHIPPED = "background.features"
WINDOWS_PER_CLIP, OWN_WINDOWS = 3, 12
"""Most windows that are kept of a clip: of those that ship, and of the user's own."""
_LEVELS = 255


@dataclass(frozen=True)
class _Group:
    source: Annotated[str, text(r"[^\x00-\x1f]{1,100}", "a name of 1 to 100 characters")]
    windows: Annotated[int, integer(1, 10_000)]


@dataclass(frozen=True)
class _Header:
    format: Annotated[int, integer(FORMAT, FORMAT)]
    encoder: Annotated[str, text(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")]
    size: Annotated[int, integer(1, PARTS * MAX_FEATURES)]
    groups: Annotated[tuple[_Group, ...], list_of(reader_of(_Group), 1, 10_000)]


@dataclass(frozen=True, eq=False)
class BackgroundClip:
    """Windows of one clip.

    Attributes:
        source: Name of the source, such as a camera or a collection. Sources are left out together.
        described: Statistics of its windows, float32, (windows, features).
        own: Whether the user gave it, so that it shows the place where the package will be used.
    """

    source: str
    described: Floats
    own: bool = False


def shipped_background(encoder: str) -> list[BackgroundClip]:
    """Return the background that ships with edgeharfer, or nothing if it is for another encoder."""
    with resources.as_file(resources.files(__package__) / SHIPPED) as path:
        found, clips = read_background(path)
    return clips if found == encoder else []


def read_folder(folder: Path, source: str, model: ActionModel) -> list[BackgroundClip]:
    """Describe a few windows of each clip below a folder.

    Raises:
        SourceError: There is no clip, or one cannot be read.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: not a folder of background clips")
    paths = files_ending(folder, CLIPS)
    if not paths:
        raise SourceError(f"{folder}: no clips in this folder")
    return read_clips(paths, source, model)


def read_clips(paths: Sequence[Path], source: str, model: ActionModel) -> list[BackgroundClip]:
    """Describe a few windows of each clip.

    Raises:
        SourceError: A clip cannot be read.
    """
    clips = []
    for path in with_progress(paths, "encoding background"):
        described = describe_clip(path, model)
        clips.append(BackgroundClip(source, spread_rows(described, WINDOWS_PER_CLIP)))
    return clips


def read_own(path: Path, model: ActionModel) -> list[BackgroundClip]:
    """Describe the clips and enrolment files of the user; each is a source of its own.

    Args:
        path: An enrolment file, or a folder of clips and enrolment files.
        model: The base package.

    Raises:
        SourceError: There is no clip, or one cannot be read.
        ModelError: An enrolment file is damaged or was made with another encoder.
    """
    if path.suffix.lower() == SUFFIX:
        examples = read_recording(path, model)
        return [BackgroundClip(one.name, spread_rows(one.described, OWN_WINDOWS), True) for one in examples]
    if not path.is_dir():
        raise SourceError(f"{path}: neither a folder of background clips nor an {SUFFIX} file")
    paths = files_ending(path, CLIPS | {SUFFIX})
    if not paths:
        raise SourceError(f"{path}: no clips in this folder")
    clips: list[BackgroundClip] = []
    for one in paths:
        if one.suffix.lower() == SUFFIX:
            clips += read_own(one, model)
        else:
            clips.append(BackgroundClip(str(one), spread_rows(describe_clip(one, model), OWN_WINDOWS), True))
    return clips


def spread_rows(described: Floats, count: int) -> Floats:
    """Return at most `count` rows, spread evenly."""
    if len(described) <= count:
        return described
    spread: Floats = described[np.linspace(0, len(described) - 1, count).round().astype(int)]
    return spread


def write_background(path: Path, encoder: str, clips: Sequence[BackgroundClip]) -> None:
    """Write a background file."""
    described = np.concatenate([clip.described for clip in clips])
    scales = (described.max(axis=0) / _LEVELS).astype("<f4")
    rows = np.round(described / np.maximum(scales, 1e-12)).clip(0, _LEVELS).astype(np.uint8)
    groups = tuple(_Group(clip.source, len(clip.described)) for clip in clips)
    header = json.dumps(asdict(_Header(FORMAT, encoder, described.shape[1], groups))) + "\n"
    path.write_bytes(header.encode() + scales.tobytes() + rows.tobytes())


def read_background(path: Path) -> tuple[str, list[BackgroundClip]]:
    """Read a background file; return the identity of its encoder (see `encoder_id`) and its clips.

    Raises:
        ModelError: It cannot be read, or is damaged.
    """
    line, _, data = read_regular_file(path, MAX_BYTES).partition(b"\n")
    header = record(_Header)(load_json(line, str(path)), str(path))
    count = sum(group.windows for group in header.groups)
    if len(data) != header.size * (4 + count):
        raise ModelError(f"{path}: damaged, {len(data)} bytes of features: install edgeharfer again")
    scales = np.frombuffer(data, "<f4", header.size)
    rows = np.frombuffer(data, np.uint8, offset=4 * header.size).reshape(count, header.size)
    described = rows.astype(np.float32) * scales
    ends = np.cumsum([group.windows for group in header.groups])[:-1]
    parts = np.split(described, ends)
    return header.encoder, [
        BackgroundClip(group.source, part) for group, part in zip(header.groups, parts, strict=True)
    ]


def main(arguments: Sequence[str]) -> int:
    """Make a background file from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__spec__.name}", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--base", default=TASKS[ACTION].package, help="package with the encoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "folders", nargs="+", metavar="NAME=PATH", help="a clip, or a folder of clips, of one source"
    )
    options = parser.parse_args(arguments)
    named = [(name, Path(path)) for name, _, path in (one.partition("=") for one in options.folders)]
    try:
        model = ActionModel(load_package(options.base, ACTION))
        clips: list[BackgroundClip] = []
        for name, path in named:
            clips += read_clips([path], name, model) if path.is_file() else read_folder(path, name, model)
    except EdgeharferError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_background(options.out, encoder_id(model.manifest), clips)
    sys.stdout.write(f"{options.out}: {len(clips)} clips of {len({name for name, _ in named})} sources\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

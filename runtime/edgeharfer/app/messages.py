"""What the app says about an emotion: short texts from a file that anybody can replace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import UNCERTAIN

FER8 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
MOST_SIGNS = 160
MOST_BYTES = 64 * 1024
HOLD_S = 2.0
"""A label has to stand for so long before anything is said of it: a passing look is nobody's business."""
FORGET_S = 2.0
"""What was said stays for so long after the label has gone, so that it can be read."""


def read_messages(path: Path | None = None, labels: Iterable[str] = ()) -> dict[str, str]:
    """Texts by label; an empty one says nothing, and so does a label that is left out.

    path: None is the file that ships. labels: of the package in use, beside FER+'s eight.
    Raises ConfigError: unreadable, not an object of texts, an unknown key, a text that does not fit.
    """
    if path is None:
        text = resources.files(__package__).joinpath("messages.json").read_text(encoding="utf-8")
    else:
        text = _read(path)
    where = "messages.json" if path is None else str(path)
    known = tuple(dict.fromkeys((*FER8, *labels, UNCERTAIN)))
    content = _parse(text, where)
    for label, message in content.items():
        _check(label, message, known, where)
    return {label: message for label, message in content.items() if isinstance(message, str)}


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: larger than {MOST_BYTES >> 10} kB, which no file of messages is")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}: give --messages a JSON file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: save it as UTF-8") from error


def _parse(text: str, where: str) -> Mapping[str, object]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f'{where}: must be an object such as {{"happy": "Looks pleased."}}')
    return content


def _check(label: str, message: object, known: tuple[str, ...], where: str) -> None:
    if label not in known:
        raise ConfigError(f"{where}: unknown key {label[:40]!r}; known are {', '.join(known)}")
    if not isinstance(message, str) or len(message) > MOST_SIGNS or not message.isprintable():
        raise ConfigError(f"{where}: {label}: must be one line of text of at most {MOST_SIGNS} signs")


@dataclass
class _Standing:
    label: str
    since_s: float
    seen_s: float
    said: str = ""
    said_s: float = 0.0


class Speaker:
    """Says something of a person only once a label stands, and no more often than one can read.

    Times are of the source, in seconds, and ascend.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        self._messages = messages
        self._by_track: dict[int, _Standing] = {}

    def reset(self) -> None:
        """Forget everybody."""
        self._by_track.clear()

    def say(self, track: int, label: str, now_s: float) -> str:
        """What stands to be said of a tracked face that has this label now; "" is nothing."""
        standing = self._by_track.get(track)
        if standing is None or now_s < standing.seen_s:
            standing = self._by_track[track] = _Standing(label, now_s, now_s)
        if label != standing.label:
            standing.label, standing.since_s = label, now_s
        standing.seen_s = now_s
        if now_s - standing.since_s >= HOLD_S:
            standing.said, standing.said_s = self._messages.get(label, ""), now_s
        elif now_s - standing.said_s > FORGET_S:
            standing.said = ""
        return standing.said

    def keep(self, tracks: Iterable[int]) -> None:
        """Forget all others."""
        known = set(tracks)
        self._by_track = {track: one for track, one in self._by_track.items() if track in known}

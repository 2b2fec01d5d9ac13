"""Messages about emotions: short texts from a JSON file that `--messages` replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgeharfer.runtime.config import read_limited
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.strict_json import fail, load_json, mapping_of
from edgeharfer.runtime.types import UNCERTAIN

FER8 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
MAX_LENGTH = 160
MAX_BYTES = 64 * 1024
HOLD_S = 2.0
"""How long a label must last before its message is shown."""
DISPLAY_S = 2.0
"""How long a message stays after its label is gone, so that it can be read."""


def read_messages(path: Path | None = None, labels: Iterable[str] = ()) -> dict[str, str]:
    """Read the message of each label; labels may be missing, and texts may be empty.

    Args:
        path: A JSON file; None for the shipped one.
        labels: Labels of the emotion package, allowed in addition to the eight of FER+.

    Raises:
        ConfigError: The file cannot be read, is not an object of strings, has an unknown key, or a text is
            too long.
    """
    if path is None:
        data, where = resources.files(__package__).joinpath("messages.json").read_bytes(), "messages.json"
    else:
        data, where = read_limited(path, MAX_BYTES, "pass a JSON file to --messages"), str(path)
    known = tuple(dict.fromkeys((*FER8, *labels, UNCERTAIN)))
    try:
        return dict(mapping_of(known, _message_text)(load_json(data.decode(), where), where))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not valid UTF-8; save the file as UTF-8") from error
    except ModelError as error:
        raise ConfigError(str(error)) from error


def _message_text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_LENGTH or not value.isprintable():
        fail(where, f"must be one line of text of at most {MAX_LENGTH} characters")
    return value


@dataclass
class _TrackMessage:
    label: str
    since_s: float
    seen_s: float
    text: str = ""
    shown_s: float = 0.0


class MessageComposer:
    """Chooses the message of each tracked face, and holds it long enough to be read.

    Times are presentation times of the source in seconds, in ascending order.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        self._messages = messages
        self._by_track: dict[int, _TrackMessage] = {}

    def reset(self) -> None:
        """Forget all tracks."""
        self._by_track.clear()

    def update(self, track: int, label: str, now_s: float) -> str:
        """Update a track with its current label, and return its message, "" for none."""
        state = self._by_track.get(track)
        if state is None or now_s < state.seen_s:
            state = self._by_track[track] = _TrackMessage(label, now_s, now_s)
        if label != state.label:
            state.label, state.since_s = label, now_s
        state.seen_s = now_s
        if now_s - state.since_s >= HOLD_S:
            state.text, state.shown_s = self._messages.get(label, ""), now_s
        elif now_s - state.shown_s > DISPLAY_S:
            state.text = ""
        return state.text

    def retain(self, tracks: Iterable[int]) -> None:
        """Forget all tracks but these."""
        known = set(tracks)
        self._by_track = {track: one for track, one in self._by_track.items() if track in known}

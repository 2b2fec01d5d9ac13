"""What the app says: files of messages, and that it waits until a look stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeharfer.app.messages import DISPLAY_S, FER8, HOLD_S, MAX_LENGTH, MessageComposer, read_messages
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import UNCERTAIN


def write(folder: Path, content: object) -> Path:
    path = folder / "messages.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_the_messages_that_ship_cover_every_emotion_and_are_restrained() -> None:
    messages = read_messages()
    assert set(messages) == {*FER8, UNCERTAIN}
    assert messages["neutral"] == messages[UNCERTAIN] == ""
    assert all(len(text) <= 60 and "!" not in text for text in messages.values())


def test_a_file_replaces_them(tmp_path: Path) -> None:
    assert read_messages(write(tmp_path, {"happy": "Schön."})) == {"happy": "Schön."}


def test_labels_of_another_package_are_known(tmp_path: Path) -> None:
    assert read_messages(write(tmp_path, {"bored": "Yawns."}), ("bored",)) == {"bored": "Yawns."}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"merry": "x"}, "unknown key 'merry'; known keys: angry, "),
        ({"happy": 3}, "happy: must be one line"),
        ({"happy": "x" * (MAX_LENGTH + 1)}, "at most 160 characters"),
        ({"happy": "two\nlines"}, "one line"),
        ({"happy": "turned \u202e round"}, "one line"),
        ([], "must be an object"),
        ('{"happy": "a", "happy": "b"}', "duplicate key 'happy'"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON|larger than"),
    ],
)
def test_what_does_not_fit_is_an_error(tmp_path: Path, content: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_messages(write(tmp_path, content))


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pass a JSON file to --messages"):
        read_messages(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"happy": "sch\xf6n"}')
    with pytest.raises(ConfigError, match="UTF-8"):
        read_messages(tmp_path / "latin.json")


def test_nothing_is_said_of_a_passing_look() -> None:
    composer = MessageComposer({"happy": "Looks pleased.", "sad": "Looks low."})
    assert [composer.update(1, "happy", time / 2) for time in range(3)] == ["", "", ""]
    assert composer.update(1, "happy", HOLD_S) == "Looks pleased."
    assert composer.update(1, "sad", HOLD_S + 0.1) == "Looks pleased."  # it can be read to its end
    assert composer.update(1, "happy", HOLD_S + 0.2) == "Looks pleased."
    assert composer.update(1, "sad", HOLD_S + 0.3) == "Looks pleased."
    assert composer.update(1, "sad", HOLD_S + 0.3 + HOLD_S) == "Looks low."


def test_what_was_said_goes_with_the_look() -> None:
    composer = MessageComposer({"happy": "Looks pleased."})
    composer.update(1, "happy", 0.0)
    assert composer.update(1, "happy", HOLD_S) == "Looks pleased."
    assert composer.update(1, "neutral", HOLD_S + 0.5) == "Looks pleased."
    assert composer.update(1, "neutral", HOLD_S + DISPLAY_S + 0.1) == ""


def test_people_are_told_apart_and_forgotten() -> None:
    composer = MessageComposer({"happy": "Looks pleased."})
    for track in (1, 2):
        composer.update(track, "happy", 0.0)
    assert composer.update(1, "happy", HOLD_S) == "Looks pleased."
    composer.retain([2])
    assert composer.update(1, "happy", HOLD_S + 0.1) == ""
    assert composer.update(2, "happy", HOLD_S + 0.1) == "Looks pleased."
    composer.reset()
    assert composer.update(2, "happy", HOLD_S + 0.2) == ""

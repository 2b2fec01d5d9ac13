"""The statistics file: whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.sinks.stats import StatsFileSink

SUMMARY = {"frames_in": 3, "fps": 29.5}


def test_the_summary_is_written(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    with StatsFileSink(path) as sink:
        assert not path.exists()
        sink.finish(SUMMARY)
    assert json.loads(path.read_text()) == SUMMARY
    assert [entry.name for entry in tmp_path.iterdir()] == ["stats.json"]


def test_ctrl_c_after_the_summary_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    with pytest.raises(KeyboardInterrupt), StatsFileSink(path) as sink:
        sink.finish(SUMMARY)
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == SUMMARY


def test_a_failed_run_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), StatsFileSink(path) as sink:
        sink.finish(SUMMARY)
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["stats.json"]


def test_a_run_without_an_end_leaves_nothing(tmp_path: Path) -> None:
    with StatsFileSink(tmp_path / "stats.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_fails_on_entering(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot be written"), StatsFileSink(tmp_path / "no" / "stats.json"):
        pass


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(SinkError, match="not a regular file"), StatsFileSink("/dev/null"):
        pass
    assert Path("/dev/null").is_char_device()


def test_the_file_has_ordinary_rights(tmp_path: Path) -> None:
    ordinary, path = tmp_path / "ordinary", tmp_path / "stats.json"
    ordinary.touch()
    with StatsFileSink(path) as sink:
        sink.finish(SUMMARY)
    assert path.stat().st_mode == ordinary.stat().st_mode

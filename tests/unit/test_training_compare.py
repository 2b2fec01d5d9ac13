"""Runs side by side, and the learning rate that falls when nothing gets better."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("matplotlib")

from edgeharfer.training import loop  # noqa: E402
from edgeharfer.training.compare import compare_runs  # noqa: E402
from edgeharfer.training.records import read_history, tensorboard_writer, write_history  # noqa: E402


def history(*scores: float) -> list[dict[str, Any]]:
    return [
        {"epoch": i + 1, "loss": 1 / (i + 1), "score": score, "fer7_top1": score / 2}
        for i, score in enumerate(scores)
    ]


def test_the_best_run_stands_first_in_table_and_plot(tmp_path: Path) -> None:
    runs = {"sgd": history(0.2, 0.5, 0.4), "adam": history(0.3, 0.6)}
    said: list[str] = []
    rows = compare_runs(["sgd", "adam"], lambda name, folder: runs[name], tmp_path, said.append)
    assert [row["optimizer"] for row in rows] == ["adam", "sgd"]
    assert (rows[1]["best_epoch"], rows[1]["epochs"], rows[1]["fer7_top1"]) == (2, 3, 0.25)
    with (tmp_path / "comparison.csv").open() as file:
        assert [row["optimizer"] for row in csv.DictReader(file)] == ["adam", "sgd"]
    assert "| adam | 2 | 2 | 0.6000 | 0.3000 |" in (tmp_path / "comparison.md").read_text()
    assert (tmp_path / "comparison.png").stat().st_size > 5000


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25, "run": "final"}]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == rows


def test_the_rate_is_halved_whenever_the_plateau_lasts(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.8), "mse")
    scores = iter([0.5, 0.4, 0.4, 0.4, 0.4, 0.9, 0.8])
    rows = loop.fit(
        model,
        lambda epoch: [(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32))],
        lambda model: {"score": next(scores)},
        loop.TrainingPlan(epochs=7, plateau=2),
        tmp_path,
        report=lambda line: None,
    )
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


def test_the_board_gets_a_scalar_for_each_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    take = tensorboard_writer(tmp_path)
    for row in history(0.2, 0.5):
        take(row)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = [tag for kind in events.Tags().values() if isinstance(kind, list) for tag in kind]
    assert {"loss", "score", "fer7_top1"} <= set(tags)

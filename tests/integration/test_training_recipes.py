"""The recipes of the student systems, each for one epoch on a few pictures, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("keras")
pytest.importorskip("matplotlib")

from edgeharfer.cli import run_command
from tiny_faces import write_waves

SMALL = {"resnet50v2": 32, "lenet": 64}
"""Sides at which the larger networks are quick; the others are small enough as they are."""
ONE_EPOCH = ("epochs=1", "frozen_epochs=0", "finish=[]", "limit=48", "batch=16")


@pytest.fixture(autouse=True, scope="module")
def eager() -> Iterator[None]:
    """Two steps of a large network take less time than the graph of it."""
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_waves(tmp_path_factory.mktemp("fer"), train=10, val=2)


def train(data: Path, out: Path, *options: str) -> None:
    changes = [option for change in ONE_EPOCH for option in ("--set", change)]
    arguments = ["train", "emotion", "--data", str(data), "--out", str(out), *changes, *options]
    assert run_command(arguments) == 0


@pytest.mark.parametrize("name", ["resnet50v2", "mini-xception", "cnn4", "lenet"])
def test_a_recipe_trains_and_is_scored(name: str, data: Path, tmp_path: Path) -> None:
    side = ["--side", str(SMALL[name])] if name in SMALL else []
    train(data, tmp_path, "--recipe", name, *side)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["recipe"]["arch"] == name
    assert metrics["data"]["pictures"] == 48
    assert metrics["evaluation"]["fer7"]["data"]["n"] == 14
    for file in ("augmented.png", "mistakes-fer7.png", "reliability-fer7.png"):
        assert (tmp_path / file).stat().st_size > 10_000


def test_optimizers_are_compared(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, "--recipe", "cnn4", "--compare", "sgd,adam,adagrad,adamw")
    table = (tmp_path / "comparison.md").read_text()
    assert all(f"| {name} |" in table for name in ("sgd", "adam", "adagrad", "adamw"))
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    rates = {
        name: json.loads((tmp_path / name / "metrics.json").read_text())["recipe"]["learning_rate"]
        for name in ("sgd", "adam")
    }
    assert rates == {"sgd": None, "adam": None}


def test_an_optimizer_that_is_none_is_refused(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "emotion", "--data", str(data), "--out", str(tmp_path), "--compare", "sgd,nadam"]
    assert run_command(arguments) == 2


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text('arch = "cnn4"\nprovenance = ["Of the recipe."]\n', encoding="utf-8")
    return path


def test_the_card_states_the_given_origin_of_the_data(
    data: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(data, tmp_path, "--recipe", str(recipe), "--provenance", "Waves.", "--provenance", "Of a test.")
    card = (tmp_path / "MODELCARD.emotion-fer7.md").read_text()
    assert "\nWaves.\nOf a test.\n" in card
    assert "Of the recipe." not in card
    assert "--provenance" not in "".join(capsys.readouterr())


def test_a_card_with_the_origin_of_the_recipe_is_announced(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "emotion", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert run_command([*arguments, "--recipe", str(recipe)]) != 0
    assert "--provenance replaces it" in "".join(capsys.readouterr())
    for change in ("provenance=['Waves.']", "provenance = ['Waves.']"):
        assert run_command([*arguments, "--recipe", str(recipe), "--set", change]) != 0
        assert "--provenance" not in "".join(capsys.readouterr())

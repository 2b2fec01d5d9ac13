"""A short training of an emotion model on made-up faces: what it leaves, how it goes on, what is exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from edgeharfer.export import export_model
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.training import loop
from edgeharfer.training.emotion.data import make_targets
from edgeharfer.training.emotion.distill import Teacher
from edgeharfer.training.emotion.recipe import EmotionRecipe, FinishingPhase
from edgeharfer.training.emotion.train import Lessons, make_batches, train_emotion
from edgeharfer.training.registry import EMOTION_NETWORKS, EmotionNetwork
from edgeharfer.training.temperature import fit_temperature
from tiny_faces import NoFaces, read_faces, write_waves

RECIPE = EmotionRecipe(
    arch="tiny",
    batch=8,
    epochs=6,
    learning_rate=0.01,
    ema=0.9,
    validation_share=0.1,
    seed=3,
    finish=(FinishingPhase(2),),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_waves(tmp_path_factory.mktemp("fer"))


@pytest.fixture
def votes(data: Path, tmp_path: Path) -> Path:
    """Ten votes for the folder's class, and none for a few pictures."""
    columns = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "NF")
    names = ("neutral", "happiness", "surprise", "sadness", "anger", *columns[5:])
    rows = ["Usage,Image name," + ",".join(names)]
    for file in sorted(data.rglob("*.png")):
        if not file.stem.endswith("3train"):
            rows.append(
                f"Training,{file.name}," + ",".join("10" if c == file.parent.name else "0" for c in columns)
            )
    path = tmp_path / "votes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(autouse=True)
def tiny_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def trunk(x: Any) -> Any:
        x = layers.Conv2D(24, 7, 2, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        return layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))

    tiny = EmotionNetwork(InputSpec(48, 48, "gray", "standardize"), trunk)
    monkeypatch.setitem(EMOTION_NETWORKS, "tiny", tiny)


def train(data: Path, out: Path, recipe: EmotionRecipe = RECIPE, **options: Any) -> keras.Model:
    return train_emotion(data, out, recipe, NoFaces(), report=lambda line: None, **options)


def test_a_run_leaves_all_that_is_promised_and_exports(data: Path, votes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(data, run, votes_file=votes)
    for name in ("model.keras", "labels.json", "metrics.json", "history.csv", "curves.png", "confusion.png",
                 "report.txt", "package.json"):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["evaluation"]["fer7"]["data"]["n"] == 35
    assert metrics["evaluation"]["fer7"]["data"]["top1"] > 0.4  # one in seven by chance
    assert metrics["recipe"]["seed"] == 3
    assert metrics["data"]["dropped"] == {}
    for name, classes in (("emotion-fer7", 7), ("emotion-fer8", 8)):
        package = export_model(run, tmp_path / name, name=name)
        assert len(package.manifest.labels) == classes
        assert name in (package.path / "MODELCARD.md").read_text()
        probs = EmotionModel(package).classify([np.full((60, 50, 3), 90, np.uint8)] * 3)
        assert probs.shape == (3, classes)
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_a_student_learns_from_a_run_and_from_faces_with_uncertain_labels(
    data: Path, votes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more" / "contempt").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "more" / "contempt" / "a.png"), np.full((50, 50, 3), 90, np.uint8))
    recipe = replace(
        RECIPE, epochs=1, finish=(), joined_share=0.25, sampling_power=0.4, blends=12, votes_share=0.2,
        label_weight=1.25,
    )  # fmt: skip
    monkeypatch.setattr(Teacher, "probabilities", lambda teacher, pictures: {
        head: np.full((len(pictures), classes), 1 / classes, np.float32)
        for head, classes in (("fer7", 7), ("fer8", 8))
    })  # fmt: skip
    student = train(
        data, tmp_path / "student", recipe, votes_file=votes, teachers=[Teacher(tmp_path / "teacher")],
        uncertain=tmp_path / "more",
    )  # fmt: skip
    assert all(np.isfinite(weights).all() for weights in student.get_weights())
    facts = json.loads((tmp_path / "student" / "package.json").read_text())["training"]
    assert facts["teachers"] == ["teacher"]
    assert facts["votes_share"] == 0.2
    assert facts["further_faces"] == {
        "uncertain": 1, "counted": 1, "unlabelled": 0, "blends": 12, "expressions": 0,
    }  # fmt: skip
    assert facts["pictures"] == 126  # without the face of the teachers
    card = (tmp_path / "student" / "MODELCARD.emotion-fer7.md").read_text()
    assert "by the answers of earlier runs: teacher." in card
    assert "these answers take in what the FER+ votes say about them." in card
    assert "uncertain labels, added with the teachers' answers: 1." in card
    assert "that the teachers found likely, so that they count: 1." in card
    assert "made of two training faces, added with the teachers' answers: 12." in card
    assert "of clips" not in card


class Killed(Exception):
    """What ends a run in the test, as a kill would."""


def test_a_killed_run_goes_on_to_the_same_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, epochs=4, finish=(FinishingPhase(1),))
    whole = train(data, tmp_path / "whole", recipe)
    batches = make_batches

    def killed(*arguments: Any) -> Any:
        def of_epoch(epoch: int) -> Iterator[Any]:
            for i, batch in enumerate(batches(*arguments)(epoch)):
                if epoch == 2 and i == 5:
                    raise Killed
                yield batch

        return of_epoch

    monkeypatch.setattr("edgeharfer.training.emotion.train.make_batches", killed)
    with pytest.raises(Killed):
        train(data, tmp_path / "killed", recipe)
    monkeypatch.setattr("edgeharfer.training.emotion.train.make_batches", batches)
    resumed = train(data, tmp_path / "killed", recipe, resume=True)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    histories = [(tmp_path / run / "main/history.csv").read_text() for run in ("whole", "killed")]
    assert histories[0] == histories[1]


def test_an_epoch_depends_on_its_number_and_the_seed_alone(data: Path) -> None:
    faces, _ = read_faces(data)
    targets = make_targets(faces, None, smoothing=0.1)
    lessons = Lessons(faces, targets, len(faces), {})
    batches = make_batches(lessons, RECIPE, InputSpec(48, 48, "gray", "standardize"))
    (first, labels), (again, _) = next(batches(1)), next(batches(1))
    other, _ = next(batches(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(labels["fer7"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(first.mean(axis=(1, 2, 3)), 0, atol=1.0)


def test_training_stops_when_it_gets_no_better(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    scores = iter([0.5, 0.7, 0.6, 0.6, 0.6, 0.9])
    history = loop.fit(
        model,
        lambda epoch: [(np.ones((4, 2)), np.ones((4, 1)))],
        lambda model: {"score": next(scores)},
        loop.TrainingPlan(epochs=10, patience=3),
        tmp_path,
        report=lambda line: None,
    )
    assert [row["score"] for row in history] == [0.5, 0.7, 0.6, 0.6, 0.6]


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5)).astype(np.float32)
    weights = np.exp(logits)
    probs = weights / weights.sum(axis=1, keepdims=True)
    drawn = np.array([rng.choice(5, p=row / row.sum()) for row in probs])
    targets = np.eye(5, dtype=np.float32)[drawn]
    assert fit_temperature(2 * logits, targets, 0.3, 3, 121) == pytest.approx(2, abs=0.15)

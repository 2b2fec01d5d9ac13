"""Action training from clips on disk to a run's folder, and on to the exported package; all of it tiny."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.evaluate.action import evaluate_action  # noqa: E402
from edgeharfer.evaluate.dataset import CLIPS, Dataset  # noqa: E402
from edgeharfer.export import export_model  # noqa: E402
from edgeharfer.runtime.errors import SourceError  # noqa: E402
from edgeharfer.training.action.head import draw_weights  # noqa: E402
from edgeharfer.training.action.recipe import ActionRecipe  # noqa: E402
from edgeharfer.training.action.train import train_action  # noqa: E402
from edgeharfer.training.backbones import frame_encoder  # noqa: E402
from edgeharfer.training.recipe import make_recipe  # noqa: E402
from edgeharfer.training.records import read_history  # noqa: E402

RECIPE = ActionRecipe(
    name="tiny-action", width=32, height=32, alpha=0.35, frames=4, seconds=1.0, views=2, view_seconds=1.0,
    units=8, epochs=4, epoch_windows=64, batch=16, learning_rate=0.02, folds=2,
    feature_dropout=0.1, dropout=0.1, mixup_probability=0.0, provenance=("Stripes, made by a test.",),
)  # fmt: skip
FPS = 12
SIZE = (64, 48)
COLORS = {"Red": (0, 0, 230), "Green": (0, 230, 0), "background": (90, 90, 90)}


def write_clip(path: Path, label: str, seed: int, seconds: float = 1.5) -> None:
    """A bar that moves over a plain of its class's colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    rng = np.random.default_rng(seed)
    ground = np.clip(np.array(COLORS[label]) + rng.integers(-20, 20, 3), 0, 255)
    for i in range(round(seconds * FPS)):
        picture = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        picture[:] = ground
        picture[:, (4 * seed + 2 * i) % SIZE[0]] = 255
        writer.write(picture)
    writer.release()


@pytest.fixture(autouse=True, scope="module")
def eager() -> Iterator[None]:
    """Few steps of a small head take less time than the graph of it."""
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for c, label in enumerate(("Red", "Green")):
        for group in range(1, 4):
            for take in (1, 2):
                name = f"v_{label}_g{group:02d}_c{take:02d}.mp4"
                write_clip(
                    root / "data" / label / name, label, 100 * c + 10 * group + take, 0.5 + 0.4 * group
                )
    for i in range(4):
        write_clip(root / "calm" / f"calm{i}.mp4", "background", 300 + i)
    (root / "data" / "Red" / "v_Red_g09_c01.mp4").write_bytes(b"not a video")
    (root / "data" / "Red" / "v_Red_g08_c01.mp4").write_bytes(
        (root / "data/Red/v_Red_g01_c01.mp4").read_bytes()
    )
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone whose features do not vanish: with plain random weights they are about 1e-12."""
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    keras.utils.set_random_seed(1)
    backbone = frame_encoder(RECIPE.width, RECIPE.height, RECIPE.alpha, None)
    for layer in backbone.layers:
        if "conv" in type(layer).__name__.lower():
            layer.set_weights([array * 3.2 for array in layer.get_weights()])
    backbone.save_weights(path)
    return path


@pytest.fixture(scope="module")
def run(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "action"
    lines: list[str] = []
    train_action(
        data / "data", out, RECIPE, background=[data / "calm"], backbone_weights=weights, report=lines.append
    )
    (out / "log").write_text("\n".join(lines))
    return out


def test_a_run_leaves_all_its_files(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("model.keras", "labels.json", "metrics.json", "history.csv", "curves.png", "confusion.png"),
        *("report.txt", "package.json", "MODELCARD.md", "heads.csv"),
        *("augmented.png", "mistakes.png", "reliability.png"),
    }
    assert json.loads((run / "labels.json").read_text()) == ["Green", "Red", "background"]


def test_metrics_say_what_was_measured_on_what(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    figures = metrics["cross_validation"]
    assert figures["n"] == 16
    assert figures["labels"] == ["Green", "Red", "background"]
    assert sum(row["support"] for row in figures["per_class"].values()) == 16
    assert sum(row["clips"] for row in metrics["folds"]) == 16
    assert metrics["data"]["clips"] == {"Green": 6, "Red": 6, "background": 4}
    assert set(metrics["data"]["skipped"]) == {"Red/v_Red_g08_c01.mp4", "Red/v_Red_g09_c01.mp4"}
    assert len(metrics["data"]["sha256"]) == 64
    assert metrics["recipe"]["seed"] == RECIPE.seed
    assert "keras" in metrics["versions"]
    assert figures["top1"] > 0.6, "colours alone tell the classes"


def test_history_has_a_row_for_each_epoch_and_another_for_each_head(run: Path) -> None:
    rows = read_history(run / "history.csv")
    assert [row["epoch"] for row in rows] == list(range(1, RECIPE.epochs + 1))
    assert set(rows[0]) == {"epoch", "loss", "score", "final_loss"}
    heads = read_history(run / "heads.csv")
    assert len(heads) == 3 * RECIPE.epochs
    assert rows[2]["loss"] == pytest.approx(
        np.mean([row["loss"] for row in heads if row["epoch"] == 3 and row["run"] != "final"])
    )


def test_the_card_names_the_data_and_the_figures(run: Path) -> None:
    card = (run / "MODELCARD.md").read_text()
    assert "Stripes, made by a test." in card
    for heading in ("## Data and its terms", "## Accuracy", "## Limits", "## Use"):
        assert heading in card
    assert str(run.parent) not in card
    assert "nor on any of its group" in card
    assert "2 folds of whole groups (gNN in the name, else scenes found by appearance)" in card


def test_the_sheet_of_augmented_clips_has_a_row_a_class(run: Path) -> None:
    sheet = cv2.imread(str(run / "augmented.png"))
    assert sheet is not None
    reds = (sheet[..., 2].astype(int) - sheet[..., 1] > 100).any(axis=1)
    greens = (sheet[..., 1].astype(int) - sheet[..., 2] > 100).any(axis=1)
    assert reds.any()
    assert greens.any()
    assert np.flatnonzero(greens).max() < np.flatnonzero(reds).min(), "Green, Red, background"


@pytest.mark.parametrize("arch", ["mean", "tcn", "linear"])
def test_other_architectures_train_on_the_same_features(
    arch: str, run: Path, data: Path, weights: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    train_action(
        data / "data", tmp_path / arch, replace(RECIPE, arch=arch, epochs=2), background=[data / "calm"],
        backbone_weights=weights, features=run / "features", report=lines.append,
    )  # fmt: skip
    assert any("(0 encoded now" in line for line in lines)
    assert json.loads((tmp_path / arch / "metrics.json").read_text())["cross_validation"]["n"] == 16


def test_a_head_that_is_solved_has_one_epoch(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    train_action(
        data / "data", tmp_path, replace(RECIPE, arch="linear"), background=[data / "calm"],
        backbone_weights=weights, features=run / "features", report=lambda line: None,
    )  # fmt: skip
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [1]
    assert "a linear classifier of the window's mean features" in (tmp_path / "MODELCARD.md").read_text()


def test_the_students_way_is_told_to_leak(data: Path, weights: Path, tmp_path: Path) -> None:
    students = make_recipe(ActionRecipe, "action", "mobilenetv2-lstm", {}, ())
    recipe = replace(students, width=32, height=32, alpha=0.35, frames=4, folds=2, epochs=2, units=8)
    lines: list[str] = []
    model = train_action(data / "data", tmp_path, recipe, backbone_weights=weights, report=lines.append)
    assert not any(layer.name == "linear" for layer in model.get_layer("head").layers)
    assert any("LEAK" in line for line in lines)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "LEAK" in metrics["split"]
    assert metrics["cross_validation"]["windows"] == 12
    assert metrics["live_windows"]["n"] == 12
    assert "LEAK" in (tmp_path / "report.txt").read_text()
    card = (tmp_path / "MODELCARD.md").read_text()
    assert "LEAK" in card
    assert "other takes of the same scene" in card
    facts = json.loads((tmp_path / "package.json").read_text())["accuracy"]
    assert facts["top1"] == round(metrics["live_windows"]["top1"], 4)
    assert facts["whole_clip_top1"] == round(metrics["cross_validation"]["top1"], 4)


def test_resume_takes_up_finished_heads_and_features(run: Path, data: Path, weights: Path) -> None:
    before = (run / "metrics.json").read_bytes()
    (run / "heads" / "final.json").unlink()
    lines: list[str] = []
    train_action(
        data / "data", run, RECIPE, background=[data / "calm"], backbone_weights=weights, resume=True,
        report=lines.append,
    )  # fmt: skip
    assert "fold-1: already finished" in lines
    assert "fold-2: already finished" in lines
    assert any("(0 encoded now" in line for line in lines)
    assert any(line.startswith("final: epoch 1") for line in lines)
    now = json.loads((run / "metrics.json").read_bytes())
    assert now["cross_validation"] == json.loads(before)["cross_validation"]


def test_other_settings_are_not_taken_up(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    copy = shutil.copytree(run, tmp_path / "run")
    train_action(
        data / "data", copy, replace(RECIPE, epochs=1), background=[data / "calm"], backbone_weights=weights,
        resume=True, report=lines.append,
    )  # fmt: skip
    assert any("trained on other data or settings" in line for line in lines)


def test_the_exported_package_gives_what_the_whole_model_gives(run: Path, data: Path, tmp_path: Path) -> None:
    package = export_model(run, tmp_path / "package")
    assert package.manifest.name == "tiny-action"
    assert package.manifest.labels[-1] == "background"
    model = keras.saving.load_model(run / "model.keras", compile=False)
    clips = Dataset(data / "data", CLIPS)
    good = [sample for sample in clips.samples if "g09" not in sample.name]
    figures = evaluate_action(package, clips, good)
    assert figures["n"] == 13
    assert figures["unreadable"] == []
    assert model.input_shape == (None, 4, 32, 32, 3)


def test_a_class_without_a_readable_clip_is_named(data: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "Red" / "v_Red_g01_c01.mp4", "Red", 1)
    (tmp_path / "data" / "Broken").mkdir()
    (tmp_path / "data" / "Broken" / "one.mp4").write_bytes(b"not a video")
    with pytest.raises(SourceError, match=r"no readable clip of class Broken \(Broken/one.mp4: "):
        train_action(
            tmp_path / "data", tmp_path / "run", RECIPE, backbone_weights="none", report=lambda line: None
        )


def test_classes_and_sources_are_evened_out_by_the_root() -> None:
    labels = np.array([0] * 4 + [1] * 20)
    sources = ["data"] * 4 + ["street"] * 16 + ["webcam"] * 4
    weights = draw_weights(labels, sources, 0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[labels == 1].sum() / weights[labels == 0].sum() == pytest.approx(5**0.5)
    assert weights[20:].sum() / weights[4:20].sum() == pytest.approx(2 / 4)
    even = draw_weights(labels, sources, 1.0)
    assert even[labels == 0].sum() == pytest.approx(0.5)
    assert even[20:].sum() == pytest.approx(0.25)
    assert draw_weights(labels, ["data"] * 24, 0.0) == pytest.approx(np.full(24, 1 / 24))

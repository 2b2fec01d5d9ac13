"""A motion model from clips on disk to an exported package, told by speed alone; all of it tiny."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.evaluate.action import evaluate_action  # noqa: E402
from edgeharfer.evaluate.dataset import CLIPS, Dataset  # noqa: E402
from edgeharfer.export import export_model  # noqa: E402
from edgeharfer.training.action.motion import MotionSpec  # noqa: E402
from edgeharfer.training.action.recipe import ActionRecipe  # noqa: E402
from edgeharfer.training.action.train import train_action  # noqa: E402
from edgeharfer.training.backbones import backbone  # noqa: E402

LAYER = "block_3_expand_relu"
RECIPE = ActionRecipe(
    name="tiny-motion", arch="motion", width=64, height=48, alpha=0.35, frames=8, seconds=1.0, folds=2,
    views=2, view_windows=1, linear_gain=2.0, ridge=0.1,
    motion=MotionSpec(looks=2, width=48, height=48, gain=2.0, layer=LAYER),
)  # fmt: skip
FPS, SIZE = 16, (64, 48)
SPEEDS = {"fast": 6, "slow": 1}


def write_clip(path: Path, speed: int, seed: int, seconds: float = 1.4, flicker: bool = False) -> None:
    """A bright square that wanders over a scene of its own, whose light may flicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 120, (6, 8, 3), np.uint8), SIZE, interpolation=cv2.INTER_NEAREST)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
    for i in range(round(seconds * FPS)):
        picture = np.array(scene, np.uint8) + np.uint8(100 * (i % 2) * flicker)
        x = (5 * seed + speed * i) % (SIZE[0] - 12)
        picture[16:28, x : x + 12] = 255
        writer.write(picture)
    writer.release()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for c, (label, speed) in enumerate(SPEEDS.items()):
        for i in range(4):
            write_clip(root / label / f"{label}{i}.avi", speed, 10 * c + i, 0.7 if i == 3 else 1.4)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone whose features do not vanish."""
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    keras.utils.set_random_seed(1)
    network = backbone("MobileNetV2", RECIPE.motion.width, RECIPE.motion.height, None, alpha=RECIPE.alpha)
    for layer in network.layers:
        if "conv" in type(layer).__name__.lower():
            layer.set_weights([array * 3.2 for array in layer.get_weights()])
    network.save_weights(path)
    return path


@pytest.fixture(scope="module")
def run(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "motion"
    train_action(data, out, RECIPE, backbone_weights=weights, report=lambda line: None)
    return out


def test_speed_alone_tells_the_classes(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["cross_validation"]["n"] == 8
    assert metrics["cross_validation"]["top1"] >= 7 / 8
    assert metrics["recipe"]["motion"]["layer"] == LAYER
    card = (run / "MODELCARD.md").read_text()
    assert "It uses motion only: 8 grey frames of 64x48 over 1 s" in card
    assert "a static camera" in card


def test_only_features_of_windows_are_kept(run: Path) -> None:
    assert sum(file.stat().st_size for file in (run / "features").iterdir()) < 8 * 100_000
    with np.load(next((run / "features").iterdir())) as arrays:
        assert arrays["features0"].shape[1] == arrays["features1"].shape[1] < 1000
        assert len(arrays["features1"]) == RECIPE.view_windows


def test_features_are_taken_up_again(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    train_action(
        data, tmp_path, RECIPE, backbone_weights=weights, features=run / "features", report=lines.append
    )
    assert any("(0 encoded now" in line for line in lines)
    before, now = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path))
    assert now["cross_validation"] == before["cross_validation"]


def test_background_is_a_second_guise_of_its_class(
    run: Path, data: Path, weights: Path, tmp_path: Path
) -> None:
    """The whole scene flickers, which is neither of the two speeds, and is to be called slow."""
    for i in range(3):
        write_clip(tmp_path / "calm" / f"calm{i}.avi", 0, 40 + i, flicker=True)
    recipe = replace(
        RECIPE, background="slow", ridge=0.003, aside_share=0.1, remarks=("Three of them flicker.",)
    )
    model = train_action(
        data, tmp_path / "run", recipe, background=[tmp_path / "calm"], backbone_weights=weights,
        features=run / "features", report=lambda line: None,
    )  # fmt: skip
    assert model.output_shape == (None, 2)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["cross_validation"]["n"] == 8
    assert metrics["cross_validation"]["top1"] >= 7 / 8
    assert (metrics["aside"]["n"], metrics["aside"]["top1"]) == (3, 1.0)
    assert metrics["data"]["clips"] == {"fast": 4, "slow": 7}
    card = (tmp_path / "run" / "MODELCARD.md").read_text()
    assert "of 3 clips of other footage labelled slow, 100.0% were classified as" in card
    assert "- Three of them flicker." in card
    facts = json.loads((tmp_path / "run" / "package.json").read_text())["accuracy"]
    assert (facts["clips"], facts["clips_beside"], facts["top1_beside"]) == (8, 3, 1.0)
    package = export_model(tmp_path / "run", tmp_path / "package")
    figures = evaluate_action(package, clips := Dataset(data, CLIPS), clips.samples)
    assert figures["top1"] == 1.0


def test_each_scene_can_be_held_out_once(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    train_action(
        data, tmp_path, replace(RECIPE, folds=0), backbone_weights=weights, features=run / "features",
        report=lambda line: None,
    )  # fmt: skip
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert len(metrics["folds"]) == sum(metrics["data"]["groups"].values())
    assert sum(row["clips"] for row in metrics["folds"]) == 8
    assert "one fold for each of the whole groups" in (tmp_path / "MODELCARD.md").read_text()


def test_the_package_streams_and_says_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    package = export_model(run, tmp_path / "package", half_weights=True)
    assert package.manifest.input.color == "gray"
    assert set(package.manifest.files["fp32"]) == {"encoder", "head"}
    figures = evaluate_action(package, clips := Dataset(data, CLIPS), clips.samples)
    assert figures["n"] == 8
    assert figures["top1"] == 1.0, "all clips were trained on"

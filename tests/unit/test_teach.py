"""Teaching: the closed-form head, its graph, what is refused, and what the figures say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeharfer.evaluate.golden import check_golden
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError, SourceError
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.package import Package, load_package, verify_package
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats
from edgeharfer.teach.background import BackgroundClip, read_background, shipped_background, write_background
from edgeharfer.teach.enrolment import Enrolment, encoder_id, read_enrolment, write_enrolment
from edgeharfer.teach.examples import Example, find_files, read_examples
from edgeharfer.teach.graph import head_graph
from edgeharfer.teach.head import LinearHead, fit_head
from edgeharfer.teach.lesson import make_windows, teach
from edgeharfer.teach.package import package_name, write_package
from edgeharfer.teach.validation import (
    MAX_NAMED,
    MIN_BACKGROUND,
    background_offset,
    fit_confidence,
    named_share,
    told_by_look,
)
from edgeharfer.teach.windows import describe, window_rows
from films import write_film
from tiny_models import action_package

WINDOW = WindowSpec(4, 1.0, 0.5)
FPS = 8


def film(path: Path, brightness: Callable[[int], float], frames: int = 16) -> Path:
    """Grey pictures; the tiny encoder gives their brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [np.full((32, 32, 3), np.clip(brightness(i), 0, 255), np.uint8) for i in range(frames)]
    return write_film(path, pictures, FPS)


def write_examples(root: Path, count: int = 4) -> Path:
    """Two classes: brightness that jumps up and down, and brightness that stays."""
    for n in range(count):
        film(root / "blink" / f"{n}.mp4", lambda i, n=n: 110 + 8 * n + 60 * (-1) ** (i // 2))  # type: ignore[misc]
        film(root / "still" / f"{n}.mp4", lambda i, n=n: 110 + 8 * n)  # type: ignore[misc]
    return root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return action_package(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("data"))


def test_held_out_scores_are_those_of_a_head_without_the_group() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 12)).astype(np.float32)
    labels, groups = rng.integers(0, 3, 30), np.repeat(np.arange(10), 3)
    weights = np.full(30, 1 / 30)
    found = fit_head(x, x, labels, groups, weights, 3, 0.5)
    rows = groups == 4
    # A weight of almost nothing is the same as leaving the rows out, with the same standardisation.
    mean, deviation = weights @ x, np.sqrt(weights @ (x - weights @ x) ** 2) + 1e-2
    z = np.concatenate([(x - mean) / deviation, np.full((30, 1), 3.0)], axis=1)
    kept, targets = z[~rows] * np.sqrt(1 / 30), np.eye(3)[labels[~rows]] * np.sqrt(1 / 30)
    kernel = np.linalg.solve(kept.T @ kept + 0.5 * np.eye(13), kept.T @ targets)
    np.testing.assert_allclose(found.held_out[rows], z[rows] @ kernel, atol=1e-4)
    everything = np.linalg.solve(z.T @ z / 30 + 0.5 * np.eye(13), z.T @ np.eye(3)[labels] / 30)
    np.testing.assert_allclose(found.head.scores(x), z @ everything, atol=1e-4)


@pytest.mark.parametrize("opset", [9, 17, 18, 21])
def test_the_graph_computes_the_head(opset: int) -> None:
    rng = np.random.default_rng(5)
    head = LinearHead(rng.normal(size=(3 * 8, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32))
    graph = head_graph(head, WINDOW, opset)
    onnx.checker.check_model(onnx.load_from_string(graph.data), full_check=True)
    windows = rng.normal(size=(3, 4, 8)).astype(np.float32)
    np.testing.assert_allclose(make_session(graph).run1(windows), head.scores(describe(windows)), atol=1e-5)
    assert graph.info.opset == opset


def test_windows_are_those_of_a_live_run() -> None:
    times = np.arange(0, 3, 0.25)
    assert window_rows(times, WINDOW).tolist() == [[i, i + 1, i + 2, i + 3] for i in range(9)]
    assert window_rows(np.array([0, 0.25, 2.0, 2.25]), WINDOW).tolist() == []  # a gap empties the window
    assert window_rows(np.array([0, 0.5, 1.0]), WINDOW)[0].tolist() == [1, 1, 2, 2]  # a slow source


def test_a_taught_package_is_complete_and_right(base: Package, data: Path, tmp_path: Path) -> None:
    lesson = teach([data], base=base.path)
    assert lesson.labels == ("blink", "still") and lesson.accuracy == 1.0
    assert lesson.classes[0].frozen_recall < 0.5
    assert not any("without any motion" in warning for warning in lesson.warnings)
    assert any("no background" in warning for warning in lesson.warnings)
    package = write_package(lesson, tmp_path / "Own actions", package_name(tmp_path / "Own actions", None))
    assert verify_package(package.path).manifest.name == "own-actions"
    check_golden(package)
    assert package.manifest.threshold > 0 and package.manifest.output == "logits"
    receipt = (package.path / "receipt.json").read_text(encoding="utf-8")
    assert '"confusion"' in receipt and '"left_out": "recordings"' in receipt
    model = ActionModel(package)
    [window] = window_rows(np.arange(4) / 4, model.window)
    dark, light = (np.full((32, 32, 3), value, np.uint8) for value in (60, 180))
    for frames, label in (([dark, light, dark, light], 0), ([dark] * 4, 1)):
        features = np.stack([model.encode(frame) for frame in frames])
        assert model.classify(features[window][None]).argmax() == label


def test_own_background_becomes_a_class(base: Package, data: Path, tmp_path: Path) -> None:
    for n in range(3):
        film(tmp_path / "scenes" / f"{n}.mp4", lambda i, n=n: 20 + 15 * n + 6 * i)  # type: ignore[misc]
    lesson = teach([data], base=base.path, background=[tmp_path / "scenes"])
    assert lesson.labels == ("blink", "still", "background")
    assert lesson.background == {"own": 3} and lesson.confusion.sum() == 8 + 3


def test_the_shipped_background_fits_the_default_package() -> None:
    encoder = encoder_id(load_package("action-ucf20").manifest)
    clips = shipped_background(encoder)
    assert len({clip.source for clip in clips}) >= 10 and len(clips) > 100
    assert shipped_background("0" * 64) == []


def test_background_files_keep_the_statistics(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    clips = [BackgroundClip(f"s{n}", rng.random((n + 1, 6), np.float32)) for n in range(3)]
    write_background(tmp_path / "file", "a" * 64, clips)
    encoder, found = read_background(tmp_path / "file")
    assert encoder == "a" * 64 and [clip.source for clip in found] == ["s0", "s1", "s2"]
    for one, other in zip(clips, found, strict=True):
        np.testing.assert_allclose(one.described, other.described, atol=1 / 255)
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        read_background(tmp_path / "file")


def test_the_background_keeps_quiet_and_gives_way() -> None:
    rng = np.random.default_rng(1)

    def described(rows: int, part: int) -> Floats:
        moved = np.repeat(np.eye(3, dtype=np.float32)[part], 3)
        return moved + rng.normal(scale=0.4, size=(rows, 9)).astype(np.float32)

    examples = [
        Example(f"{label}{n}", label, f"{label}{n}", described(5, part))
        for part, label in enumerate(("a", "b"))
        for n in range(3)
    ]
    scenes = [BackgroundClip(f"s{n % 4}", described(3, 2)) for n in range(12)]
    windows, held_out = make_windows(examples, scenes, ("a", "b", "background"))
    assert held_out == "recordings" and windows.weights.sum() == pytest.approx(1)
    fit = fit_head(
        windows.described, windows.described, windows.labels, windows.groups, windows.weights, 3, 0.1
    )
    rows = windows.labels == 2
    before = (fit.held_out[rows].argmax(axis=1) == 2).mean()
    offset = background_offset(fit.held_out, windows, 2)
    fit = fit.lowered(2, offset)
    kept = (fit.held_out[rows].argmax(axis=1) == 2).mean()
    assert offset > 0 and before > kept >= MIN_BACKGROUND - 1 / rows.sum()
    confidence = fit_confidence(fit.held_out, windows, 2)
    probs = softmax(fit.held_out, confidence.temperature)
    assert named_share(probs, windows, 2, 0.0) > MAX_NAMED
    assert named_share(probs, windows, 2, confidence.threshold) <= MAX_NAMED


def test_classes_told_apart_without_motion_are_reported() -> None:
    recall = np.array([1.0, 0.2, 0.9], np.float32)
    assert told_by_look(("kitchen", "wave", "office"), recall) == ["kitchen", "office"]
    assert told_by_look(("still", "wave", "jump"), np.array([1.0, 0.2, 0.4], np.float32)) == []


def test_the_place_is_told_from_the_motion(base: Package, tmp_path: Path) -> None:
    """Nothing moves in either class, so only the look of the place tells them apart."""
    for n in range(4):
        film(tmp_path / "data" / "kitchen" / f"{n}.mp4", lambda i, n=n: 40 + 6 * n)  # type: ignore[misc]
        film(tmp_path / "data" / "office" / f"{n}.mp4", lambda i, n=n: 190 + 6 * n)  # type: ignore[misc]
    lesson = teach([tmp_path / "data"], base=base.path)
    assert lesson.accuracy == 1.0
    assert any("kitchen and office are distinguished without any motion" in line for line in lesson.warnings)


def test_enrolments_are_examples(base: Package, tmp_path: Path) -> None:
    encoder, times = encoder_id(base.manifest), np.arange(0, 16, 0.25)
    for label, step in (("blink", 1.0), ("still", 0.0)):
        jumps = step * (np.arange(len(times)) % 2)[:, None]
        features = np.sin(times / 5)[:, None] * 0.2 + jumps + np.zeros((1, 8))
        write_enrolment(
            tmp_path / f"{label}.enrol", Enrolment(label, encoder, times, features.astype(np.float32))
        )
    again = read_enrolment(tmp_path / "blink.enrol")
    assert again.label == "blink" and len(again.times) == 64
    lesson = teach([tmp_path / "blink.enrol", tmp_path / "still.enrol"], base=base.path)
    assert [one.examples for one in lesson.classes] == [3, 3] and lesson.held_out == "clips"
    assert len(find_files([tmp_path])) == 2  # in a folder, too
    idle = Enrolment("idle", encoder, times, np.full((len(times), 8), 3.0, np.float32))
    write_enrolment(tmp_path / "idle.enrol", idle)
    data = [tmp_path / "blink.enrol", tmp_path / "still.enrol"]
    assert teach(data, base=base.path, background=[tmp_path / "idle.enrol"]).background == {"own": 3}
    (tmp_path / "blink.enrol").write_bytes((tmp_path / "blink.enrol").read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"blink\.enrol: .* damaged"):
        read_enrolment(tmp_path / "blink.enrol")


def _copied(data: Path, root: Path) -> Path:
    shutil.copytree(data, root / "data")
    return root / "data"


def one_class(root: Path) -> None:
    shutil.rmtree(root / "blink")


def one_clip(root: Path) -> None:
    for n in (1, 2, 3):
        (root / "blink" / f"{n}.mp4").unlink()


def short_clip(root: Path) -> None:
    film(root / "blink" / "short.mp4", lambda i: 10 * i, frames=3)


def copied_clip(root: Path) -> None:
    shutil.copy(root / "blink" / "0.mp4", root / "blink" / "again.mp4")


def similar_clip(root: Path) -> None:
    film(root / "blink" / "similar.avi", lambda i: 110 + 60 * (-1) ** (i // 2))


def background_class(root: Path) -> None:
    (root / "still").rename(root / "Background")


def broken_clip(root: Path) -> None:
    (root / "blink" / "2.mp4").write_bytes(b"\0" * 5000)


def empty_class(root: Path) -> None:
    (root / "jump").mkdir()


def empty_folder(root: Path) -> None:
    for folder in list(root.iterdir()):
        shutil.rmtree(folder)


def no_folder(root: Path) -> None:
    shutil.rmtree(root)


def same_name(root: Path) -> None:
    write = root / "Blink"
    shutil.move(root / "still", write)


FAULTS: Sequence[tuple[Callable[[Path], None], type[EdgeharferError], str]] = [
    (one_class, ConfigError, r"only one class, still: add clips of at least one other action"),
    (one_clip, ConfigError, r"only one clip of blink: at least 2 are needed"),
    (short_clip, SourceError, r"short\.mp4: too short: 0\.2 s, at least 0\.5 s"),
    (copied_clip, ConfigError, r"a duplicate of .*blink"),
    (similar_clip, ConfigError, r"similar\.avi: a duplicate of .*0\.mp4"),
    (background_class, ConfigError, r"cannot be called Background: .* --background"),
    (broken_clip, SourceError, r"2\.mp4: "),
    (empty_class, SourceError, r"jump: no clips in this folder"),
    (empty_folder, SourceError, r"empty: add a folder of clips for each class"),
    (no_folder, SourceError, r"no such file or folder"),
    (same_name, ConfigError, r"differ only in case"),
]


@pytest.mark.parametrize(("spoil", "kind", "told"), FAULTS, ids=[one[0].__name__ for one in FAULTS])
def test_what_cannot_be_learned_is_refused_in_one_line(
    spoil: Callable[[Path], None],
    kind: type[EdgeharferError],
    told: str,
    base: Package,
    data: Path,
    tmp_path: Path,
) -> None:
    root = _copied(data, tmp_path)
    spoil(root)
    with pytest.raises(kind, match=told) as caught:
        read_examples(find_files([root]), ActionModel(base))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_names_of_packages(tmp_path: Path) -> None:
    assert package_name(tmp_path / "Wave & Clap", None) == "wave-clap"
    with pytest.raises(ConfigError, match="--name"):
        package_name(tmp_path, "Wave!")


def test_pictures_are_kept_nowhere(base: Package, data: Path, tmp_path: Path) -> None:
    package = write_package(teach([data], base=base.path), tmp_path / "own", "own")
    names = {path.name for path in package.path.iterdir()}
    assert names == {
        "encoder.onnx",
        "head.onnx",
        "manifest.json",
        "receipt.json",
        "MODELCARD.md",
        "golden.json",
    }

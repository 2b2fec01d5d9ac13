"""Clips are judged by the windows that `run` would see."""

from __future__ import annotations

import zipfile
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.evaluate.action import clip_windows, evaluate_action, read_frames
from edgeharfer.evaluate.dataset import CLIPS, Dataset
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.progress import Display, shown_by
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.types import Floats, Frame

WINDOW = WindowSpec(frames=4, seconds=1.0, max_gap_s=0.5)
FPS = 12
SIZE = (48, 32)


def number(value: float) -> Floats:
    return np.array([value], np.float32)


def windows_at(times: list[float]) -> list[list[float]]:
    """The windows of frames that stand for themselves by their number."""
    frames = [(time, float(i)) for i, time in enumerate(times)]
    return [window[:, 0].tolist() for window in clip_windows(frames, WINDOW, number)]


def write_clip(path: Path, color: tuple[int, int, int], frames: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    for i in range(frames):
        picture = np.full((SIZE[1], SIZE[0], 3), color, np.uint8)
        picture[:, (2 * i) % SIZE[0]] = 255
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return tiny_models.action_package(tmp_path / "package")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_clip(root / "biking" / "long.mp4", (200, 30, 30), 24)
    write_clip(root / "Archery" / "short.mp4", (30, 30, 200), 5)
    write_clip(root / "Unicycling" / "other.mp4", (30, 200, 30), 12)
    (root / "Archery" / "broken.mp4").write_bytes(b"not a video")
    return root


def test_windows_follow_a_grid_in_time() -> None:
    assert windows_at([0.0, 0.25, 0.5, 0.75, 1.0]) == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert windows_at([i / 8 for i in range(9)]) == [[0, 2, 4, 6], [2, 4, 6, 8]]


def test_a_slow_clip_fills_several_points_with_one_frame() -> None:
    assert windows_at([0.0, 0.5, 1.0]) == [[1, 1, 2, 2]]


def test_a_short_clip_stands_still_on_its_last_picture() -> None:
    assert windows_at([0.0]) == [[0, 0, 0, 0]]
    assert windows_at([0.0, 0.1, 0.25, 0.3]) == [[0, 2, 2, 2]]


def test_a_gap_empties_the_window() -> None:
    assert windows_at([0.0, 0.25, 0.5, 2.0, 2.25, 2.5, 2.75]) == [[3, 4, 5, 6]]
    assert windows_at([0.0, 0.25, 2.0]) == [[2, 2, 2, 2]]


def test_a_window_longer_than_the_gap_it_allows_is_still_filled() -> None:
    window = WindowSpec(frames=2, seconds=4.0, max_gap_s=0.5)
    assert clip_windows([(0.0, 7.0)], window, number)[0, :, 0].tolist() == [7, 7]


def test_a_clip_without_a_picture_is_an_error() -> None:
    with pytest.raises(SourceError, match="the clip has no frames"):
        clip_windows([], WINDOW, number)


def test_the_windows_are_those_of_the_recognizer(package: Package, tmp_path: Path) -> None:
    """The probabilities averaged over a clip are those that `run` computes frame by frame, unsmoothed."""
    path = write_clip(tmp_path / "clip.mp4", (120, 60, 200), 30)
    model = ActionModel(package)
    seen: list[Floats] = []

    class Listening(ActionModel):
        def classify(self, window: Floats) -> Floats:
            seen.append(window[0])
            return super().classify(window)

    task = tiny_models.action_task(Listening(package))
    for frame in read_frames(path):
        task.step(frame, ())
    found = clip_windows(
        ((frame.pts_s, frame.picture) for frame in read_frames(path)), model.window, model.encode_picture
    )
    np.testing.assert_array_equal(found, np.stack(seen))


def test_frames_come_in_order(tmp_path: Path) -> None:
    frames: list[Frame] = list(read_frames(write_clip(tmp_path / "clip.mp4", (9, 9, 9), 6)))
    assert [frame.seq for frame in frames] == list(range(6))


def test_figures_of_a_folder(package: Package, data: Path) -> None:
    dataset = Dataset(data, CLIPS)
    display = Mock(spec=Display)
    with shown_by(display):
        figures = evaluate_action(package, dataset, dataset.samples)
    assert figures["task"] == "action"
    assert figures["n"] == 2
    assert figures["labels"] == list(tiny_models.ACTIONS)
    assert figures["left_out"] == {"Unicycling": 1}
    assert figures["unreadable"] == ["Archery/broken.mp4"]
    display.begin.assert_called_once_with("evaluating clips", 3)
    assert display.advance.call_count == 3
    per_class = figures["per_class"]
    assert isinstance(per_class, dict)
    assert {label: row["support"] for label, row in per_class.items()} == {
        "background": 0, "Biking": 1, "Archery": 1,
    }  # fmt: skip
    mistakes = figures["mistakes"]
    assert isinstance(mistakes, list)
    assert figures["top1"] == 1 - len(mistakes) / 2


def test_a_clip_is_the_mean_of_its_windows(package: Package, data: Path) -> None:
    dataset = Dataset(data, CLIPS)
    figures = evaluate_action(package, dataset, [one for one in dataset.samples if one.file == "long.mp4"])
    model = ActionModel(package)
    path = data / "biking" / "long.mp4"
    windows = clip_windows(
        ((frame.pts_s, frame.picture) for frame in read_frames(path)), model.window, model.encode_picture
    )
    probs = np.stack([model.classify(window[None]) for window in windows])
    assert figures["windows"] == len(windows) == 5
    biking = tiny_models.ACTIONS.index("Biking")
    assert figures["top1"] == float(probs.mean(axis=0).argmax() == biking)
    assert figures["window_top1"] == float((probs.argmax(axis=1) == biking).mean())


def test_a_zip_gives_the_same_figures(package: Package, data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in data.rglob("*.mp4"):
            file.write(path, path.relative_to(data))
    folder, packed = Dataset(data, CLIPS), Dataset(archive, CLIPS)
    assert evaluate_action(package, packed, packed.samples) == evaluate_action(
        package, folder, folder.samples
    )


def test_data_without_a_known_readable_class_is_an_error(package: Package, data: Path) -> None:
    dataset = Dataset(data, CLIPS)
    with pytest.raises(SourceError, match="no readable clip of a class of tiny-action"):
        evaluate_action(package, dataset, [one for one in dataset.samples if one.file != "long.mp4"][:1])

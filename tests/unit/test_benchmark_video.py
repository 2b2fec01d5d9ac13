"""A clip without an end, and a crowd in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.benchmark.video import CrowdedVideo, LoopedVideo, tile_face
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.types import Box, Face, Image
from films import write_film
from media_clips import encode_clip, quarters

FRAMES, FPS = 6, 25


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "clip.avi"
    write_film(path, (np.full((48, 64, 3), 20 * number, np.uint8) for number in range(FRAMES)), FPS, "MJPG")
    return str(path)


def test_a_film_goes_on_and_so_does_its_time(clip: str) -> None:
    with LoopedVideo(clip, ManualClock(), 7.0) as film:
        frames = [frame for _ in range(2 * FRAMES + 1) if (frame := film.read()) is not None]
    assert [frame.seq for frame in frames] == list(range(2 * FRAMES + 1))
    assert [frame.pts_s - 7.0 for frame in frames] == pytest.approx(
        [number / FPS for number in range(2 * FRAMES + 1)], abs=1e-3
    )
    assert int(frames[FRAMES].bgr.mean()) == int(frames[0].bgr.mean())


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_the_film_is_the_same_each_time(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [np.roll(quarters(), 5 * number, axis=1) for number in range(12)]
    path = encode_clip(tmp_path / name, pictures, options={"bf": "3", "b_strategy": "0"})
    with LoopedVideo(str(path), ManualClock()) as film:
        monkeypatch.setattr(film, "_open", pytest.fail)  # opening would be measured
        frames = [frame for _ in range(36) if (frame := film.read()) is not None]
    assert [frame.pts_s for frame in frames] == pytest.approx(
        [number / FPS for number in range(36)], abs=1e-3
    )
    for number, frame in enumerate(frames):
        assert np.array_equal(frame.bgr, frames[number % 12].bgr)


def test_one_picture_is_no_film(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="not a video: pass a video file with --source"):
        LoopedVideo(str(tmp_path / "a.png"), ManualClock())
    with pytest.raises(SourceError, match="no such file"):
        LoopedVideo(str(tmp_path / "none.mp4"), ManualClock())


class OneFace:
    """Sees the same face in every second picture."""

    provider = "fake"

    def __init__(self, box: Box | None) -> None:
        self._box, self._calls = box, 0

    def detect(self, bgr: Image, region: object = None, *, close_up: bool = False) -> Sequence[Face]:
        self._calls += 1
        seen = self._box is not None and self._calls % 2 == 1
        return [Face(self._box, 0.9, np.zeros((6, 2), np.float32))] if seen and self._box else []

    def warm_up(self) -> None:
        pass


def test_a_crowd_stands_in_every_frame_even_where_the_face_was_missed(clip: str) -> None:
    with CrowdedVideo(clip, ManualClock(), faces=4, detector=OneFace(Box(20, 10, 10, 10))) as film:  # type: ignore[arg-type]
        frames = [film.read() for _ in range(3)]
    assert all(frame is not None and frame.bgr.shape == (48, 64, 3) for frame in frames)
    with (
        CrowdedVideo(clip, ManualClock(), faces=4, detector=OneFace(None)) as film,  # type: ignore[arg-type]
        pytest.raises(SourceError, match="no face in the first frame"),
    ):
        film.read()


@pytest.mark.parametrize("faces", [1, 2, 6, 30])
def test_the_face_is_pasted_as_often_as_wanted(faces: int) -> None:
    bgr = np.zeros((120, 160, 3), np.uint8)
    bgr[40:80, 60:100] = 255
    picture = tile_face(bgr, Box(60, 40, 40, 40), faces)
    assert picture.shape == bgr.shape
    bright = cv2.connectedComponents((picture[..., 0] > 200).astype(np.uint8))[0] - 1
    assert bright == faces


def test_a_face_at_the_edge_is_pasted_as_far_as_it_is_seen() -> None:
    assert tile_face(np.zeros((48, 64, 3), np.uint8), Box(-10, -10, 30, 30), 2).shape == (48, 64, 3)

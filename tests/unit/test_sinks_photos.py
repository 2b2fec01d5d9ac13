"""`--save` of photographs: annotated, whole, under names that surprise nobody, or one clear line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import Sink, SinkOptions, make_sink
from edgeharfer.runtime.sinks.photos import PhotoSink, output_paths
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Action, Frame, Image


def make_saver(target: Path, source: Source) -> Sink:
    return make_sink("save", str(target), SinkOptions(source))


def picture(level: int = 200, size: tuple[int, int] = (240, 320)) -> Image:
    return np.full((*size, 3), level, np.uint8)


def photo(path: Path, level: int = 200) -> Path:
    cv2.imwrite(str(path), picture(level))
    return path


def put(sink: PhotoSink, seq: int = 0, level: int = 200) -> None:
    result = Result(seq, float(seq), 1.0, readings={"action": Action("Biking", 0.7, ready=True)})
    sink.write(Frame(seq, float(seq), 0.0, picture(level), still=True), result, Status())


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "PNG"])
def test_a_photograph_is_saved_with_its_overlay_at_once(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"out.{ending}"
    with PhotoSink([target]) as sink:
        assert names(tmp_path) == []
        put(sink)
        saved = cv2.imread(str(target))
    assert saved is not None and saved.shape == (240, 320, 3)
    assert saved[:20, :80].min() < 100, "the strip at the top is dark"
    assert saved[200:].min() > 180, "a photograph has no action"
    assert names(tmp_path) == [target.name]


def test_a_failure_keeps_the_old_file_and_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.jpg"
    target.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    sink = PhotoSink([target]).__enter__()
    with monkeypatch.context() as disk, pytest.raises(SinkError):
        disk.setattr(Path, "write_bytes", full)
        put(sink)
    with pytest.raises(SinkError, match="No space left on device"):
        sink.__exit__(None, None, None)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.jpg"]


def test_a_missing_folder_fails_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot be written"), PhotoSink([tmp_path / "no" / "out.jpg"]):
        pass


def test_a_folder_takes_all_photographs_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.PNG", "c.bmp", "c.jpg"):
        photo(tmp_path / "in" / name)
    source = open_source(tmp_path / "in")
    with make_saver(tmp_path / "out", source) as sink:
        while (frame := source.read()) is not None:
            sink.write(frame, Result(frame.seq, frame.pts_s, 1.0), Status())
    assert names(tmp_path / "out") == ["a.jpg", "b.PNG", "c-2.jpg", "c.jpg"]


def test_photographs_of_one_name_get_numbers() -> None:
    photos = [Path("x/a.jpg"), Path("y/a.jpg"), Path("z/A.webp")]
    assert [path.name for path in output_paths(Path("out"), photos)] == ["a.jpg", "a-2.jpg", "A-3.jpg"]


def test_a_photograph_is_never_its_own_target(tmp_path: Path) -> None:
    source = open_source(photo(tmp_path / "a.jpg"))
    for target in (tmp_path / "a.jpg", tmp_path):
        with pytest.raises(ConfigError, match="would overwrite the photograph itself"):
            make_saver(target, source)


@pytest.mark.parametrize(
    ("save", "line"),
    [
        (
            "out.jpg",
            r"out\.jpg: only photographs can be saved as \.jpg; .* use the extension \.mp4, \.mkv, \.avi",
        ),
        ("out.png", r"only photographs can be saved as \.png"),
        ("out.gif", r"out\.gif: not a video file; .* use the extension \.mp4"),
        ("out", r"out: not a video file"),
    ],
)
def test_a_video_is_not_saved_as_a_photograph(save: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make_saver(Path(save), open_source("demo"))


def test_an_unknown_ending_and_several_for_one_file_are_one_clear_line(tmp_path: Path) -> None:
    one = open_source(photo(tmp_path / "a.jpg"))
    with pytest.raises(ConfigError, match=r"out\.tiff: use the extension \.jpg or \.png"):
        make_saver(tmp_path / "out.tiff", one)
    photo(tmp_path / "b.jpg")
    with pytest.raises(ConfigError, match=r"contains 2 images; use a folder, such as --save .*out$"):
        make_saver(tmp_path / "out.jpg", open_source(tmp_path))


def test_a_photograph_can_still_become_a_video(tmp_path: Path) -> None:
    assert isinstance(make_saver(tmp_path / "out.mp4", open_source(photo(tmp_path / "a.jpg"))), VideoSink)

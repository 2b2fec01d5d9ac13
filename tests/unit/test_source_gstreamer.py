"""GStreamer pipelines, with a capture that follows a script in place of OpenCV built with GStreamer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import display_name, resolve_choice
from edgeharfer.runtime import doctor
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source import gstreamer, open_source, source_kind
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.base import SourceOptions
from edgeharfer.runtime.source.gstreamer import SINK, GStreamerSource, launch_text
from edgeharfer.runtime.types import Image

CSI = (
    "nvarguscamerasrc ! video/x-raw(memory:NVMM),width=1280,height=720 ! nvvidconv ! video/x-raw,format=BGRx"
)
SECRET = 'rtspsrc location=rtsp://me:pass@cam/1 user-pw="a ! b c" ! rtph264depay ! decodebin'


class FakePipeline:
    """Delivers the given pictures, then nothing."""

    def __init__(self, pictures: list[Image], *, is_open: bool = True) -> None:
        self.pictures, self.is_open, self.released = pictures, is_open, 0
        self._now: Image | None = None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.is_open

    def grab(self) -> bool:
        self._now = self.pictures.pop(0) if self.pictures else None
        return self._now is not None

    def retrieve(self) -> tuple[bool, Image | None]:
        return self._now is not None, self._now

    def read(self) -> tuple[bool, Image | None]:
        return self.retrieve() if self.grab() else (False, None)

    def get(self, prop: int) -> float:
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def set(self, prop: int, value: float) -> bool:
        raise AssertionError("the elements of the pipeline set everything")

    def release(self) -> None:
        self.released += 1


def opened(pipeline: FakePipeline) -> GStreamerSource:
    return GStreamerSource("gstreamer:fake", ManualClock(), pipeline="fake", connect=lambda _: pipeline)


def pictures(count: int, shape: tuple[int, ...] = (48, 64, 3)) -> list[Image]:
    return [np.full(shape, level, np.uint8) for level in range(count)]


@pytest.mark.parametrize(
    ("given", "launched"),
    [
        (CSI, f"{CSI} ! {SINK}"),
        (" libcamerasrc ! ", f"libcamerasrc ! {SINK}"),
        ("videotestsrc ! appsink drop=true", "videotestsrc ! appsink drop=true"),
        ("videotestsrc !appsink", "videotestsrc !appsink"),
        (
            'filesrc location="an appsink" ! decodebin',
            f'filesrc location="an appsink" ! decodebin ! {SINK}',
        ),
    ],
)
def test_an_appsink_is_added_where_there_is_none(given: str, launched: str) -> None:
    assert launch_text(given) == launched


def test_an_empty_pipeline_is_refused_with_an_example() -> None:
    with pytest.raises(SourceError, match=r"needs a pipeline, such as gstreamer:"):
        open_source("gstreamer: ! ")


def test_the_name_shows_elements_and_no_values() -> None:
    assert source_kind(f"GStreamer:{CSI}") == "gstreamer"
    assert redact(f"gstreamer:{CSI}") == "gstreamer:nvarguscamerasrc ! video/x-raw ! nvvidconv ! video/x-raw"
    assert redact(f"gstreamer:{SECRET}") == "gstreamer:rtspsrc ! rtph264depay ! decodebin"
    assert redact('gstreamer:rtspsrc user-pw="a ! secret') == "gstreamer:***"
    assert redact("gstreamer:location=secret ! x") == "gstreamer:*** ! x"


def test_an_opencv_without_gstreamer_says_so_in_one_line() -> None:
    assert not gstreamer.has_gstreamer(), "the wheels are built without it"
    with pytest.raises(SourceError, match="built without GStreamer") as caught:
        open_source(f"gstreamer:{SECRET}")
    assert caught.value.exit_code == 2
    assert "pass" not in str(caught.value) and "a ! b" not in str(caught.value)


def test_frames_come_with_their_size_and_rate() -> None:
    with opened(FakePipeline(pictures(3))) as source:
        frames = [source.read() for _ in range(3)]
    assert [frame.seq for frame in frames if frame] == [0, 1, 2]
    assert (source.live, source.size, source.fps) == (True, (64, 48), 30.0)
    assert source.details == "GStreamer 64x48 at 30 fps"


def test_a_pipeline_that_does_not_start_exits_3_and_is_let_go() -> None:
    pipeline = FakePipeline([], is_open=False)
    with pytest.raises(CameraError, match=r"cannot be opened: try it with gst-launch-1\.0") as caught:
        opened(pipeline)
    assert (caught.value.exit_code, pipeline.released) == (3, 1)


def test_a_pipeline_without_frames_is_let_go() -> None:
    pipeline = FakePipeline([])
    with pytest.raises(CameraError, match=r"no frames received: try the pipeline with gst-launch-1\.0"):
        opened(pipeline)
    assert pipeline.released == 1


def test_a_pipeline_that_ends_is_lost() -> None:
    source = opened(FakePipeline(pictures(1)))
    assert source.read() is not None
    with pytest.raises(CameraError, match="connection lost"):
        source.read()


@pytest.mark.parametrize("shape", [(72, 64), (48, 64, 1), (48, 64, 4)])
def test_pictures_that_are_not_bgr_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CameraError, match="does not deliver BGR: end it with videoconvert"):
        opened(FakePipeline(pictures(1, shape)))


def test_it_runs_in_the_reader_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """There this OpenCV, which has no GStreamer, cannot open it."""
    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda: True)
    with pytest.raises(CameraError, match=r"^gstreamer:rtspsrc ! .*: the pipeline cannot be opened"):
        gstreamer.make_source(f"gstreamer:{SECRET}", SourceOptions(SystemClock()))


def test_the_request_is_the_whole_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Any] = []

    def open_live(name: str, request: Any, options: SourceOptions) -> GStreamerSource:
        requests.append((name, dict(request.arguments)))
        return opened(FakePipeline(pictures(1)))

    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda: True)
    monkeypatch.setattr(gstreamer, "open_live", open_live)
    open_source(f"gstreamer:{SECRET}")
    name = redact(f"gstreamer:{SECRET}")
    assert requests == [(name, {"name": name, "pipeline": f"{SECRET} ! {SINK}"})]


def test_the_page_of_the_app_cannot_choose_a_pipeline(tmp_path: Path) -> None:
    """A pipeline can write files; one that the app was started with can be chosen."""
    settings = Settings(sources=(f"gstreamer:{CSI}",))
    assert resolve_choice("gstreamer:videotestsrc ! filesink location=x", settings) is None
    assert resolve_choice("#0", settings) == f"gstreamer:{CSI}"
    assert display_name(f"gstreamer:{CSI}") == redact(f"gstreamer:{CSI}")


def test_doctor_says_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._gstreamer().ok is None and "jetson.md" in (doctor._gstreamer().fix or "")
    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda: True)
    assert doctor._gstreamer().ok is True

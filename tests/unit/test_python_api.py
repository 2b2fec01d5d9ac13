"""The Python API: arrays in, pictures and JSON out, and one line for what cannot be taken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime import Frame, Pipeline, Reading, Result, Status, open_source
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Image
from films import write_film

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def picture() -> Image:
    return DemoSource(SystemClock()).picture(0)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    action = tiny_models.action_package(tmp_path_factory.mktemp("action"))
    emotion = tiny_models.emotion_package(tmp_path_factory.mktemp("emotion"), threshold=0.0)
    with Pipeline(action=action, emotion=emotion) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, picture: Image) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), picture)
    return folder


def test_an_array_is_a_photograph(pipeline: Pipeline, picture: Image) -> None:
    before = picture.copy()
    first, second = pipeline.process(picture), pipeline.process(picture)
    assert first.action is None and all(face.emotion for face in first.faces) and len(first.faces) == 2
    assert {face.track for face in first.faces}.isdisjoint(face.track for face in second.faces)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::2, ::2], np.s_[:1, :1], np.s_[:, :, ::-1]], ids=str)
def test_any_view_of_an_array_will_do(pipeline: Pipeline, picture: Image, view: Any) -> None:
    assert isinstance(pipeline.process(picture[view]), Result)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError, r"not float32; .*\(picture \* 255\)"),
        (
            np.zeros((4, 4, 3), np.int64),
            TypeError,
            "must have the dtype uint8, with values from 0 to 255, not int64",
        ),
        (np.zeros((4, 4), np.uint8), ValueError, r"\(4, 4\).*COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"shape \(height, width, 3\), not \(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), ValueError, r"not \(3, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, r"not \(1, 4, 4, 3\)"),
        (np.zeros((0, 0, 3), np.uint8), ValueError, r"empty: its shape is \(0, 0, 3\)"),
        ("clip.mp4", TypeError, "a Frame or a NumPy array.*not str"),
        (None, TypeError, "not NoneType"),
        ([[[1, 2, 3]]], TypeError, "not list"),
    ],
    ids=str,
)
def test_anything_else_is_a_clear_error(
    pipeline: Pipeline, picture: Image, wrong: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline.process(wrong)
    with pytest.raises(error):
        pipeline.process(picture).plot(wrong)


def test_frames_come_with_their_results(pipeline: Pipeline, folder: Path) -> None:
    pairs = list(pipeline.frames(open_source(folder)))
    assert [(frame.seq, result.seq) for frame, result in pairs] == [(0, 0), (1, 1)]
    assert [Path(result.file).name for _, result in pairs] == ["a.png", "b.png"]
    assert [frame.file for frame, _ in pairs] == [result.file for _, result in pairs]
    assert pairs[0][1].to_dict()["file"] == str(folder / "a.png")


def test_only_image_files_have_a_file(pipeline: Pipeline, picture: Image) -> None:
    result = pipeline.process(picture)
    assert result.file == "" and "file" not in result.to_dict()


def test_frames_left_early_close_the_source(pipeline: Pipeline, folder: Path) -> None:
    source = open_source(folder)
    for _ in pipeline.run(source):
        break
    assert source.read() is None


def test_a_plot_is_a_new_picture(pipeline: Pipeline, picture: Image) -> None:
    before = picture.copy()
    plotted = pipeline.process(picture).plot(picture)
    assert plotted.shape == picture.shape and plotted.dtype == np.uint8
    assert (plotted != picture).any()
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(Result(0, 0.0, 0.0).plot(picture), picture)


def test_a_plot_shows_readings_of_other_tasks(picture: Image) -> None:
    said = Result(0, 0.0, 0.0, readings={"brightness": Reading(values={"mean": 97.1})})
    assert (said.plot(picture) != picture).any()


def test_the_json_line_is_ready_for_json(pipeline: Pipeline, picture: Image) -> None:
    line = json.loads(json.dumps(pipeline.process(picture).to_dict(), allow_nan=False))
    assert list(line) == ["kind", "seq", "pts_s", "age_ms", "action", "faces"]


def test_labels_by_task(pipeline: Pipeline) -> None:
    assert pipeline.labels == {"action": list(tiny_models.ACTIONS), "emotion": list(tiny_models.FER7)}


def test_what_is_printed_of_objects_says_something(pipeline: Pipeline, picture: Image) -> None:
    assert re.fullmatch(
        r"<Pipeline action=\S+ fp32 emotion=\S+ fp32 on CPUExecutionProvider>", repr(pipeline)
    )
    assert re.fullmatch(
        r"<Result 0 at 0.00 s: face \d+ \(\w+\), face \d+ \(\w+\)>", repr(pipeline.process(picture))
    )
    assert re.fullmatch(
        r"<Package emotion-fer8 for emotion: fp32, int8 in .*emotion-fer8>",
        repr(load_package("emotion-fer8")),
    )


class Count(Sink):
    def __init__(self) -> None:
        self.faces = 0

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.faces += len(result.faces)


def test_a_sink_needs_nothing_but_write(pipeline: Pipeline, folder: Path) -> None:
    with Count() as sink, Capture(open_source(folder)) as capture:
        Runner([RunInput(pipeline, capture)], [sink]).run()
    assert (sink.faces, sink.closed, sink.url) == (4, False, "")


def test_the_page_on_python_runs(tmp_path: Path, picture: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(Path("clip.mp4"), (picture for _ in range(5)))
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "examples"}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), namespace)
    assert cv2.imread("annotated.png") is not None
    result = namespace["result"]
    assert {"yaw", "pitch", "roll"} == set(result.faces[0].readings["headpose"].values)

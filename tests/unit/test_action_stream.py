"""Streaming gives what the whole window gives, however frames come and whichever were lost before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_models
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.tasks.smoothing import LabelDecision
from edgeharfer.runtime.types import Action, Floats, Frame, Image

TOLERANCE = 1e-5
FPS = 30.0

QUICK = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_models.action_package(tmp_path_factory.mktemp("p"), frames=4, seconds=0.4)


@pytest.fixture(scope="module")
def tiny(package: Package) -> ActionModel:
    return ActionModel(package)


@pytest.fixture(scope="module")
def film() -> list[Frame]:
    """Two seconds in which every picture differs from every other."""
    rng = np.random.default_rng(5)
    pictures = rng.integers(0, 256, (60, 20, 24, 3), np.uint8)
    return [Frame(i, i / FPS, 0.0, picture) for i, picture in enumerate(pictures)]


def stream(model: ActionModel, frames: Sequence[Frame]) -> dict[int, Floats]:
    """Raw answers of the head by the number of the frame that completed their window."""
    answers: dict[int, Floats] = {}
    task = tiny_models.action_task(model)
    for frame in frames:
        if "head" in task.step(frame, ()).stages_ms:
            answers[frame.seq] = model.classify(task._ring.window())
    return answers


def parts(frames: Sequence[Frame], cuts: Sequence[int]) -> Iterator[Sequence[Frame]]:
    edges = [0, *sorted({cut % len(frames) for cut in cuts}), len(frames)]
    return (frames[start:end] for start, end in pairwise(edges) if end > start)


def in_batches(package: Package, frames: Sequence[Frame], cuts: Sequence[int]) -> dict[int, Floats]:
    """The same from the whole: features of all frames in batches of any size, each window at once.

    An `ActionModel` runs its graphs with one picture and one window at a time.
    """
    encoder, head = (make_session(package.read(role, "fp32")) for role in ("encoder", "head"))
    manifest = package.manifest
    assert manifest.window is not None
    batches = [
        encoder.run1(preprocess_images([frame.bgr for frame in part], manifest.input))
        for part in parts(frames, cuts)
    ]
    features = np.concatenate(batches)
    ends, windows = chosen(manifest.window, frames)
    probs = head.run1(features[np.array(windows)])
    return dict(zip(ends, probs, strict=True))


def chosen(window: WindowSpec, frames: Sequence[Frame]) -> tuple[list[int], list[list[int]]]:
    """Which frames make up each window: the first at or after each point of the grid, by plain search."""
    step_s = window.seconds / window.frames
    points: list[int] = []
    ends, windows = [], []
    for index, frame in enumerate(frames):
        due = len(points)
        while frame.pts_s - frames[0].pts_s >= len(points) * step_s - 1e-9:
            points.append(index)
        if len(points) > due and len(points) >= window.frames:
            ends.append(frame.seq)
            windows.append(points[-window.frames :])
    return ends, windows


def assert_same(one: dict[int, Floats], other: dict[int, Floats]) -> None:
    assert one.keys() == other.keys()
    for number, probs in one.items():
        np.testing.assert_allclose(probs, other[number], atol=TOLERANCE)


@QUICK
@given(cuts=st.lists(st.integers(1, 59), max_size=12), first=st.integers(0, 20), skip=st.integers(1, 4))
def test_streaming_equals_the_whole_however_it_is_cut(
    tiny: ActionModel, package: Package, film: list[Frame], cuts: list[int], first: int, skip: int
) -> None:
    frames = film[first::skip]
    assert_same(stream(tiny, frames), in_batches(package, frames, cuts))


@QUICK
@given(lost=st.sets(st.integers(1, 30)))
def test_frames_lost_before_the_window_change_no_later_result(
    tiny: ActionModel, film: list[Frame], lost: set[int]
) -> None:
    """Not the first, which sets the grid, and no gap as long as would empty the ring (15 frames)."""
    kept = [frame for frame in film if frame.seq not in lost or frame.seq % 10 == 0]
    window = {
        seq: probs for seq, probs in stream(tiny, film).items() if film[seq].pts_s > 30 / FPS + 0.4 + 0.1
    }
    assert len(window) >= 3
    after = stream(tiny, kept)
    assert_same(window, {seq: after[seq] for seq in window})


@QUICK
@given(lost=st.sets(st.integers(1, 59)))
def test_frames_that_the_grid_does_not_ask_for_change_nothing(
    tiny: ActionModel, film: list[Frame], lost: set[int]
) -> None:
    ring, wanted = FeatureRing(tiny.window), set()
    for frame in film:
        if ring.wants(frame.pts_s):
            ring.push(frame.pts_s, np.zeros(1, np.float32))
            wanted.add(frame.seq)
    kept = [frame for frame in film if frame.seq in wanted or frame.seq not in lost]
    assert_same(stream(tiny, kept), stream(tiny, film))


def test_smoothed_results_forget_what_was_lost_long_before(tiny: ActionModel) -> None:
    rng = np.random.default_rng(6)
    pictures = rng.integers(0, 256, (300, 8, 8, 3), np.uint8)
    film = [Frame(i, i / FPS, 0.0, picture) for i, picture in enumerate(pictures)]
    whole, gappy = tiny_models.action_task(tiny), tiny_models.action_task(tiny)
    one = other = None
    for frame in film:
        one = whole.step(frame, ()).readings or one
        if frame.seq == 0 or frame.seq > 60 or frame.seq % 7 == 0:
            other = gappy.step(frame, ()).readings or other
    assert isinstance(one, Action) and isinstance(other, Action) and one.ready and other.ready
    np.testing.assert_allclose(list(one.probs.values()), list(other.probs.values()), atol=TOLERANCE)


def test_the_package_that_ships_streams_as_it_reads_the_whole() -> None:
    # In FP32: dynamic INT8 scales by all that it is given at once.
    package = load_package("action-ucf20")
    model = ActionModel(package, Backend("cpu", "fp32", 1))
    with DemoSource(SystemClock()) as source:
        pictures = [shrunk(source.picture(i * 3)) for i in range(80)]
    frames = [Frame(i, i / 10, 0.0, picture) for i, picture in enumerate(pictures)]
    streamed = stream(model, frames)
    assert len(streamed) > 20
    assert_same(streamed, in_batches(package, frames, [7, 20, 21, 50]))
    # The first frame sets the grid; of the others before the last window none is missed.
    last = max(streamed)
    needed = chosen(model.window, frames)[1][-1][0]
    kept = [frame for frame in frames if frame.seq >= needed or frame.seq % 4 == 0]
    np.testing.assert_allclose(stream(model, kept)[last], streamed[last], atol=TOLERANCE)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_package_that_ships_calls_empty_and_calm_scenes_background(precision: str) -> None:
    model = ActionModel(load_package("action-ucf20"), Backend("cpu", precision, 1))
    with DemoSource(SystemClock()) as source:
        pictures = [np.full((120, 160, 3), grey, np.uint8) for grey in (0, 127, 255)] + [source.picture(0)]
    for picture in pictures:
        window = np.repeat(model.encode(picture)[None], model.window.frames, axis=0)
        probs = model.classify(window[None])
        assert probs.argmax() == model.manifest.labels.index("background")
        assert model.manifest.background_threshold is not None
        decision = LabelDecision(
            model.manifest.labels,
            model.manifest.threshold,
            background_threshold=model.manifest.background_threshold,
        )
        assert decision.choose(probs)[0] == "background"


def shrunk(picture: Image) -> Image:
    return np.asarray(cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)

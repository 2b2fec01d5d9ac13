"""A run with several sources: each on its own, and all of them in what comes out."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.clock import Clock, ManualClock, SystemClock
from edgeharfer.runtime.errors import ConfigError, SourceError, TaskError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inputs import SourceSpec, open_sources, unique_names
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.run import RunOptions, run
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.schedule import DENSE_INTERVAL_S, LiveSchedule
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.console import ConsoleSink
from edgeharfer.runtime.sinks.events import EventsSink, summaries_to_dicts
from edgeharfer.runtime.source.base import BaseSource, Source
from edgeharfer.runtime.source.late import LateSource
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.strict_json import compact_json
from edgeharfer.runtime.tasks import TASKS
from edgeharfer.runtime.tasks.action import FeatureRing
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.headpose import HeadPose
from edgeharfer.runtime.types import Box, Face, Frame, Image, Reading
from media_clips import encode_clip
from mjpeg_server import MjpegServer

PICTURE = np.zeros((4, 4, 3), np.uint8)


class Few(BaseSource):
    """So many frames, and then perhaps an error."""

    def __init__(self, name: str, count: int, error: Exception | None = None) -> None:
        super().__init__(name, SystemClock())
        self._count, self._error, self._read = count, error, 0

    def _next(self) -> Frame | None:
        if self._read == self._count:
            if self._error is not None:
                raise self._error
            return None
        self._read += 1
        return self._frame(self._read - 1, (self._read - 1) / 30, PICTURE)


class Seeing:
    """A pipeline that sees nothing, and may fail at a frame."""

    providers: dict[str, str] = {}  # noqa: RUF012
    models: dict[str, str] = {}  # noqa: RUF012
    precision_reasons: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, fails_at: int | None = None) -> None:
        self._fails_at = fails_at

    def set_real_time(self, max_age_ms: float | None = None) -> None: ...

    def reset(self) -> None: ...

    def process(self, frame: Frame) -> Result:
        if frame.seq == self._fails_at:
            raise ValueError("hostile picture")
        return Result(frame.seq, frame.pts_s, 1.0, stages_ms={"total": 1.0, "detect": 0.5})


class Kept(Sink):
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.statuses: list[Status] = []
        self.refreshed: list[Status] = []
        self.summary: dict[str, Any] = {}

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.results.append(result)
        self.statuses.append(status)

    def refresh(self, status: Status) -> None:
        self.refreshed.append(status)

    def finish(self, summary: dict[str, Any]) -> None:
        self.summary = summary

    @property
    def counts(self) -> Counter[str]:
        return Counter(result.source for result in self.results)


def run_all(
    sources: Sequence[Source],
    sinks: Sequence[Sink],
    *,
    pipelines: Sequence[Seeing] | None = None,
    limits: RunLimits | None = None,
    stopping: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Run them all, each with its own pipeline."""
    changed = threading.Event()
    with ExitStack() as stack:
        captures = [
            stack.enter_context(Capture(one, pace="fast", changed=changed, clock=clock)) for one in sources
        ]
        pairs = zip(pipelines or [Seeing() for _ in sources], captures, strict=True)
        inputs = [
            RunInput(cast(Pipeline, pipeline), capture, capture.source.name) for pipeline, capture in pairs
        ]
        return Runner(inputs, sinks, limits, stopping=stopping, clock=clock, changed=changed).run()


def test_every_source_gives_all_its_frames_in_order_under_its_name() -> None:
    kept = Kept()
    summary = run_all([Few("a", 7), Few("b", 3), Few("c", 0)], [kept])
    assert kept.counts == {"a": 7, "b": 3}
    for name in "ab":
        numbers = [result.seq for result in kept.results if result.source == name]
        assert numbers == sorted(numbers)
    assert all(
        result.source == status.source for result, status in zip(kept.results, kept.statuses, strict=True)
    )
    assert (summary["source"], summary["frames_in"], summary["frames_processed"]) == ("all", 10, 10)
    assert {name: one["frames_processed"] for name, one in summary["sources"].items()} == {
        "a": 7,
        "b": 3,
        "c": 0,
    }
    assert "rss_mb" in summary and "rss_mb" not in summary["sources"]["a"]
    assert set(summary["sources"]["a"]["age_ms"]) == {"p50", "p95", "p99"}
    assert kept.summary == summary


def test_a_source_that_cannot_be_read_ends_alone_and_its_error_comes_last() -> None:
    kept = Kept()
    with pytest.raises(SourceError, match="torn"):
        run_all([Few("a", 2, SourceError("a: torn")), Few("b", 9)], [kept])
    assert kept.counts == {"a": 2, "b": 9}
    assert kept.summary["frames_processed"] == 11
    assert [status.source_state for status in kept.refreshed if status.source == "a"][-1] == "ended"


def test_a_picture_that_breaks_the_pipeline_ends_its_source_alone() -> None:
    kept = Kept()
    with pytest.raises(ValueError, match="hostile"):
        run_all([Few("a", 9), Few("b", 9)], [kept], pipelines=[Seeing(fails_at=4), Seeing()])
    assert kept.counts == {"a": 4, "b": 9}


def test_limits_are_those_of_each_source() -> None:
    kept = Kept()
    run_all([Few("a", 30), Few("b", 30)], [kept], limits=RunLimits(max_frames=4))
    assert kept.counts == {"a": 4, "b": 4}
    kept = Kept()
    run_all([Few("a", 30), Few("b", 2)], [kept], limits=RunLimits(duration_s=0.1))
    assert kept.counts == {"a": 3, "b": 2}


class Beating(BaseSource):
    """A live source that gives a frame whenever somebody waits, until it falls silent."""

    live = True

    def __init__(self, name: str, silent: threading.Event, over: threading.Event) -> None:
        super().__init__(name, SystemClock())
        self._silent, self._over, self._seq = silent, over, 0

    def _next(self) -> Frame | None:
        if self._silent.is_set():
            self._over.wait(20)
        if self._over.wait(0.01):
            return None
        self._seq += 1
        return self._frame(self._seq, None, PICTURE)


def test_the_state_of_a_silent_source_is_told_while_others_go_on() -> None:
    kept, silent, over, never = Kept(), threading.Event(), threading.Event(), threading.Event()
    silent.set()

    def stopping() -> bool:
        if {one.source for one in kept.refreshed} == {"mute"} and kept.counts["live"] > 20:
            over.set()
        return over.is_set()

    run_all([Beating("mute", silent, over), Beating("live", never, over)], [kept], stopping=stopping)
    assert kept.counts["live"] > 20 and not kept.counts["mute"]


def test_lines_of_several_sources_name_theirs(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        for source, state in (
            ("a", "live"),
            ("b", "stalled"),
            ("a", "live"),
            ("b", "stalled"),
            ("b", "live"),
        ):
            result = Result(1, 0.5, 1.0, cut=source == "a", source=source)
            sink.write(Frame(1, 0.5, 0.0, PICTURE), result, Status(source=source, source_state=state))
        sink.finish({"source": "all", "rss_mb": 1, "sources": {"a": {"fps": 1}, "b": {"fps": 2}}})
    lines = [tuple(line[1:-1].split(","))[:2] for line in path.read_text().splitlines()]
    assert all(source.startswith('"source":') for _, source in lines)
    kinds = Counter(kind.split(":")[1].strip('"') for kind, _ in lines)
    assert kinds == {"result": 5, "cut": 2, "state": 2, "summary": 3}


def test_the_summary_of_all_is_the_last_line() -> None:
    lines = list(summaries_to_dicts({"source": "all", "rss_mb": 5, "sources": {"a": {"fps": 1}}}))
    assert lines == [
        {"kind": "summary", "source": "a", "fps": 1},
        {"kind": "summary", "source": "all", "rss_mb": 5},
    ]
    assert list(summaries_to_dicts({"fps": 3})) == [{"kind": "summary", "fps": 3}]


def test_the_console_tells_changes_and_rates_of_each_source(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink()
    run_all([Few("a", 5), Few("b", 5)], [sink])
    told = capsys.readouterr().err
    for name in "ab":
        assert f"{name}      0.07 s  no face" in told and f"{name}: 5 frames, 0 dropped" in told
    assert told.splitlines()[-1].startswith("10 frames")


# One pipeline for each source, with the models of the first.


class Bright(Detector):
    """Finds one face, whose place follows from the brightness of the picture."""

    provider = "none"

    def detect(self, bgr: Image, region: object = None, *, close_up: bool = False) -> list[Face]:
        x = float(bgr[::8, ::8].mean()) / 4
        return [Face(Box(x, 20, 40, 40), 0.9, np.full((6, 2), x, np.float32))]

    def warm_up(self) -> None: ...


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("packages")
    emotion = tiny_models.emotion_package(folder / "emotion", threshold=0.0)
    return {"action": tiny_models.action_package(folder / "action"), "emotion": emotion}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for number, count in enumerate((40, 25)):
        texture = np.random.default_rng(number).integers(0, 200, (12, 20, 3)).astype(np.uint8)
        large = cv2.resize(texture, (160, 96))
        pictures = [np.asarray(np.roll(large, 2 * n, axis=1) + n, np.uint8) for n in range(count)]
        made.append(encode_clip(folder / f"{number}.mp4", pictures))
    return made


def comparable(result: Result) -> dict[str, Any]:
    return {key: value for key, value in result.to_dict().items() if key not in ("age_ms", "source")}


def test_together_sources_give_what_each_gives_alone(
    packages: dict[str, Any], clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [Kept() for _ in range(3)]
    for one in kept:
        one.uses_pictures = False
    for sink, names in zip(kept, (clips[:1], clips[1:], clips), strict=True):
        monkeypatch.setattr("edgeharfer.runtime.run.make_sinks", lambda *_, sink=sink: [sink])
        sources = [SourceSpec(str(clip)) for clip in names]
        options = RunOptions(sources, pipeline={**packages, "detector": Bright()}, view="none", pace="fast")
        run(options, stopping=lambda: False, report=print)
    together = [[comparable(one) for one in kept[2].results if one.source == clip.name] for clip in clips]
    assert together == [[comparable(one) for one in alone.results] for alone in kept[:2]]
    assert [len(results) for results in together] == [40, 25]
    assert not any(one.source for one in kept[0].results)


def test_a_recording_has_one_source(packages: dict[str, Any], clips: list[Path], tmp_path: Path) -> None:
    sources = [SourceSpec(str(clip)) for clip in clips]
    options = RunOptions(sources, pipeline=packages, view="none", record=tmp_path / "x.rec")
    with pytest.raises(ConfigError, match="one source"):
        run(options, stopping=lambda: False, report=print)


def test_pipelines_share_models_and_keep_their_state_apart(packages: dict[str, Any]) -> None:
    with Pipeline(**packages, detector=Bright(), clock=ManualClock(), extra_tasks=[HeadPose()]) as first:
        second = first.for_another_source()
        assert second.task_models["action"]._sessions is first.task_models["action"]._sessions
        dark, light = np.zeros((96, 160, 3), np.uint8), np.full((96, 160, 3), 200, np.uint8)
        for n in range(40):
            one = first.process(Frame(n, n / 30, 0.0, dark + np.uint8(n)))
            if n < 5:
                two = second.process(Frame(n, n / 30, 0.0, light + np.uint8(n)))
        assert one.action is not None and one.action.ready
        assert two.action is not None and not two.action.ready
        assert one.faces[0].box.x < two.faces[0].box.x
        second.disable("emotion")
        assert not first.disabled
        second.close()
        first.process(Frame(40, 41 / 30, 0.0, dark))


def test_a_task_that_cannot_be_made_twice_is_named(packages: dict[str, Any]) -> None:
    class Brightness:
        name, scope = "brightness", "scene"

        def step(self, frame: Frame, faces: object) -> Reading:
            return Reading(values={"mean": 1.0})

        def reset(self) -> None: ...

        def close(self) -> None: ...

    with (
        Pipeline(**packages, detector=Bright(), extra_tasks=[cast(Task, Brightness())]) as pipeline,
        pytest.raises(TaskError, match="brightness: cannot run on several sources"),
    ):
        pipeline.for_another_source()


def test_every_task_that_ships_can_run_on_several_sources() -> None:
    from edgeharfer.runtime.tasks import EXTRA_TASKS, make_tasks

    for task in make_tasks(EXTRA_TASKS):
        other = task.for_another_source()  # type: ignore[attr-defined]
        assert type(other) is type(task) and other is not task
        if TASKS[task.name].model:
            assert other.model is not task.model and other.model.session is task.model.session  # type: ignore[attr-defined]
        task.close()


# The schedule.


def loaded(count: int, *, detect_s: float, other_s: float, seconds: float = 20.0) -> list[LiveSchedule]:
    """Schedules of sources at 30 fps, with these costs of a detection and of all else in a second."""
    first = LiveSchedule(0.1)
    first.set_real_time(None)
    schedules = [first, *(first.for_another_source() for _ in range(count - 1))]
    for n in range(int(30 * seconds)):
        for one in schedules:
            if one.due(n / 30, 0.0):
                one.record_detection(n / 30, detect_s)
            one.record_frame(n / 30, other_s / 30)
    return schedules


def test_sources_share_the_time_of_the_thread() -> None:
    (alone,) = loaded(1, detect_s=0.01, other_s=0.05)
    assert alone.interval_s == 0.1
    several = loaded(8, detect_s=0.01, other_s=0.05)
    assert all(one.interval_s == pytest.approx(DENSE_INTERVAL_S, rel=0.2) for one in several)


def test_under_load_clip_models_encode_less_often_and_return_when_it_is_over() -> None:
    busy = loaded(8, detect_s=0.01, other_s=0.08)
    assert busy[0].interval_s > DENSE_INTERVAL_S and {one.sparse for one in busy} == {True}
    for n in range(600, 1200):
        for one in busy:
            one.record_frame(n / 30, 0.001 / 30)
    assert {one.sparse for one in busy} == {False}
    assert {one.sparse for one in loaded(1, detect_s=0.1, other_s=0.7)} == {False}, "one source is as before"


def test_a_sparse_window_is_encoded_at_three_of_five_points() -> None:
    dense, sparse = (FeatureRing(WindowSpec(16, 2.0, 0.5)) for _ in range(2))
    counts = [0, 0]
    for n in range(30 * 10):
        for number, ring in enumerate((dense, sparse)):
            if ring.wants(n / 30, sparse=bool(number)):
                ring.push(n / 30, np.full(1, n, np.float32))
                counts[number] += 1
    assert counts == [80, 48] and dense.ready and sparse.ready
    assert dense.window().shape == sparse.window().shape


def test_late_looks_do_not_lower_their_rate() -> None:
    first = LiveSchedule(0.2)
    first.set_real_time(None)
    first.for_another_source()
    looks, rng = 0, np.random.default_rng(1)
    for n in range(3000):
        if n % 30 and rng.random() < 0.1:
            continue  # a frame was dropped
        pts_s = n / 30 + rng.uniform(0, 0.01)
        if first.due(pts_s, 0.0):
            first.record_detection(pts_s, 0.001)
            looks += 1
    assert looks / 100 >= 4.99


# Opening.


class Opened:
    """Opens sources, except those that are away."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.made: list[Few] = []

    def __call__(self, spec: str, **options: Any) -> Source:
        if error := self.errors.get(spec.rpartition("/")[2].partition(".")[0]):
            raise error
        made = Few(spec, 1)
        self.made.append(made)
        return made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_a_camera_that_is_away_is_tried_again_and_the_others_start(stack: ExitStack) -> None:
    opened = Opened(gone=SourceError("gone: refused"))
    specs = [SourceSpec("rtsp://h/gone", "door"), SourceSpec("rtsp://h/here")]
    late, here = open_sources(specs, {}, stack, lambda: False, opener=opened)
    assert isinstance(late, LateSource) and late.name == "door" and here.name == "rtsp://h/here"
    with pytest.raises(SourceError, match="refused"):
        late.read_within(0.0)
    with pytest.raises(SourceError):
        late.reconnect()
    del opened.errors["gone"]
    late.reconnect()
    assert late.read() is not None


def test_a_missing_file_ends_it_and_closes_the_others() -> None:
    opened = Opened(clip=SourceError("clip.mp4: missing"))
    with pytest.raises(SourceError, match="missing"), ExitStack() as stack:
        open_sources(
            [SourceSpec("rtsp://h/a"), SourceSpec("clip.mp4")], {}, stack, lambda: False, opener=opened
        )
    assert [one.read() for one in opened.made] == [None], "it is closed"


def test_if_none_can_be_opened_it_ends(stack: ExitStack) -> None:
    opened = Opened(a=SourceError("a: away"), b=SourceError("b: away"))
    with pytest.raises(SourceError, match="a: away"):
        open_sources(
            [SourceSpec("http://h/a"), SourceSpec("http://h/b")], {}, stack, lambda: False, opener=opened
        )


def test_names_are_unique_and_none_is_that_of_all() -> None:
    sources = [Few("clip.mp4", 0), Few("clip.mp4", 0), Few("all", 0)]
    specs = [SourceSpec("x"), SourceSpec("x"), SourceSpec("x")]
    assert unique_names(specs, sources) == ["clip.mp4", "clip.mp4 (2)", "all (2)"]


def test_too_many_sources_are_refused(stack: ExitStack) -> None:
    with pytest.raises(ConfigError, match="at most"):
        open_sources([SourceSpec("demo")] * 65, {}, stack, lambda: False)


def test_one_source_has_no_name_in_its_lines() -> None:
    assert '"source"' not in compact_json(Result(0, 0.0, 0.0).to_dict())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills reader processes, found in /proc")
def test_a_camera_whose_reader_is_killed_comes_back_and_the_other_goes_on(
    packages: dict[str, Any], tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    with MjpegServer() as door, MjpegServer() as hall:
        sources = [SourceSpec(door.url, "door"), SourceSpec(hall.url, "hall")]
        options = RunOptions(
            sources, pipeline={**packages, "detector": Bright()}, view="none",
            targets={"events": str(events)},
        )  # fmt: skip
        killed: list[int] = []

        def lines(source: str, kind: str = "result") -> list[dict[str, Any]]:
            told = [json.loads(line) for line in events.read_text().splitlines()]
            return [line for line in told if line["source"] == source and line["kind"] == kind]

        def stopping() -> bool:
            if not events.exists():
                return False
            if not killed and lines("door") and lines("hall"):
                killed.append(reader_of(door.port))
                os.kill(killed[0], signal.SIGKILL)
            states = [line["state"] for line in lines("door", "state")]
            return states == ["lost", "live"] and len(lines("door")) > 1

        run(options, stopping=stopping, report=print)
    numbers = [line["seq"] for line in lines("hall")]
    assert max(b - a for a, b in itertools.pairwise(numbers)) < 60
    assert not lines("hall", "state")
    assert [line["kind"] for line in lines("all", "summary")] == ["summary"]
    assert lines("door", "summary")[0]["connection"]["reconnects"] == 1
    assert lines("hall", "summary")[0]["connection"]["reconnects"] == 0


def reader_of(port: int) -> int:
    """Return the process that is connected to a port of this machine."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in connections if line[2].endswith(f":{port:04X}")}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()).removeprefix("socket:[").rstrip("]") in inodes:
                pid = int(link.parts[2])
                if pid != os.getpid():
                    return pid
    raise AssertionError("nobody is connected")

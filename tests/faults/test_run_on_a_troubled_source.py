"""What comes out of a run whose source freezes, and of one whose models are too slow for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.stats import Status, rss_mb
from edgeharfer.runtime.types import Frame
from mjpeg_server import MjpegServer

if TYPE_CHECKING:
    from typing_extensions import Self

Figures = Callable[..., None]


class Kept(Sink):
    """Keeps the results, with the time at which each came."""

    closed = False

    def __init__(self) -> None:
        self.results: list[tuple[float, Result]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.results.append((time.monotonic(), result))

    def finish(self, summary: dict[str, Any]) -> None: ...

    @property
    def ready(self) -> bool:
        return bool(self.results) and (action := self.results[-1][1].action) is not None and action.ready


def test_a_freeze_gives_no_results_and_empties_the_window(figures: Figures) -> None:
    demo = DemoSource(SystemClock())
    pictures = [cv2.imencode(".jpg", demo.picture(number))[1].tobytes() for number in range(0, 240, 2)]
    kept, noted = Kept(), dict[str, float]()

    def script() -> bool:
        """Freeze once the window is full, go on once that was noticed, end when the window is full again."""
        if "frozen" not in noted and kept.ready:
            server.frozen = True
            noted["frozen"] = time.monotonic()
        elif "noticed" not in noted and capture.state == "frozen":
            noted["noticed"], noted["results"] = time.monotonic(), len(kept.results)
        elif "noticed" in noted and server.frozen and time.monotonic() > noted["noticed"] + 0.5:
            noted["while frozen"] = len(kept.results) - noted["results"]
            server.frozen = False
        return "while frozen" in noted and kept.ready and len(kept.results) > noted["results"]

    with (
        MjpegServer(lambda number: pictures[number % len(pictures)], fps=15) as server,
        Capture(open_source(server.url)) as capture,
    ):
        pipeline = Pipeline(emotion=None)
        Runner([RunInput(pipeline, capture)], [kept], RunLimits(duration_s=60), stopping=script).run()
    assert noted["while frozen"] == 0
    after = [result for _, result in kept.results[int(noted["results"]) :]]
    actions = [result.action for result in after if result.action]
    gathered_s = after[-1].pts_s - after[0].pts_s
    figures(noticed_s=noted["noticed"] - noted["frozen"], gathered_s=gathered_s)
    assert not any(action.ready for action in actions[:-1]), "nothing from before the freeze is in the window"
    assert actions[-1].ready
    window = 2.0
    assert gathered_s >= window * 0.9, "a whole window was gathered anew"


class SlowPipeline:
    """Takes a fifth of a second for a frame."""

    providers, models, precision_reasons = dict[str, str](), dict[str, str](), dict[str, str]()

    def process(self, frame: Frame) -> Result:
        time.sleep(0.2)
        age_ms = (SystemClock().monotonic() - frame.captured_s) * 1e3
        return Result(frame.seq, frame.pts_s, age_ms, stages_ms={"total": 200.0})

    def set_real_time(self, max_age_ms: float | None = None) -> None:
        """It cannot."""

    def reset(self) -> None:
        """Nothing is remembered."""


def test_slow_models_get_the_newest_frame_and_the_rest_is_counted(figures: Figures) -> None:
    kept = Kept()
    with MjpegServer() as server, Capture(open_source(server.url)) as capture:
        before_mb = rss_mb() or 0.0
        limits = RunLimits(max_frames=20)
        summary = Runner([RunInput(cast(Pipeline, SlowPipeline()), capture)], [kept], limits).run()
        grown_mb = (rss_mb() or 0.0) - before_mb
    ages_ms = [result.age_ms for _, result in kept.results]
    seqs = [result.seq for _, result in kept.results]
    figures(age_p50_ms=float(np.median(ages_ms)), age_worst_ms=max(ages_ms), grown_mb=grown_mb)
    assert float(np.median(ages_ms)) <= 200 + 1000 / 30 + 10
    assert summary["frames_dropped"] > 2 * len(seqs), "five in six"
    assert summary["frames_in"] - summary["frames_dropped"] - len(seqs) in (0, 1)
    assert grown_mb < 5

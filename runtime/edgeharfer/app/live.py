"""The live view: one source and one pipeline for all viewers, started and stopped from the page."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from edgeharfer.app.feed import AppFeed
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.sources import display_name, strip_folders
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.address import redact_within

_log = logging.getLogger(__name__)


class LiveSession:
    """Used in one event loop; the run has a thread of its own.

    make_scene: a new one for each run. idle_stop_s: the run ends after so long without a viewer; 0 is
    never. most: viewers at a time. follow_redirects: as of `open_source`.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        make_scene: Callable[[], SceneSummary],
        clock: Clock,
        *,
        idle_stop_s: float = 0.0,
        max_viewers: int = 32,
        follow_redirects: bool = False,
    ) -> None:
        self.feed = AppFeed(make_scene, clock, max_viewers)
        self._options, self._clock = options, clock
        self._idle_stop_s, self._follow_redirects = idle_stop_s, follow_redirects
        self._changing = asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    async def start(self, spec: str) -> None:
        """Watch another source in place of the one before."""
        async with self._changing:
            await self._join()
            self._stop = threading.Event()
            self.feed.begin(display_name(spec))
            self.feed.watched_s = self._clock.monotonic()
            self._thread = threading.Thread(target=self._run, args=(spec, self._stop), name="live")
            self._thread.start()

    async def stop(self) -> None:
        """Watch nothing."""
        async with self._changing:
            await self._join()
            self.feed.begin()

    async def stop_if_unwatched(self) -> None:
        """End a run that has had no viewer for long. Called once a second."""
        unwatched_s = self._clock.monotonic() - self.feed.watched_s
        runs = self._thread is not None and self._thread.is_alive()
        if self._idle_stop_s and runs and unwatched_s > self._idle_stop_s:
            _log.info("there is no viewer: the live view ends")
            await self.stop()

    async def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _run(self, spec: str, stop: threading.Event) -> None:
        """The thread: whatever goes wrong is told on the page."""
        error = ""
        try:
            self._process(spec, stop)
        except KeyboardInterrupt:  # stopped while it was opened
            pass
        except EdgeharferError as lack:
            _log.warning("the live view ended: %s", lack)
            error = strip_folders(str(lack))
        except Exception as defect:
            _log.exception("the live view broke off")
            why = f"{type(defect).__name__}: {redact_within(str(defect))}"
            error = strip_folders(f"a defect, please report it: {why}")
        self.feed.end(error)

    def _process(self, spec: str, stop: threading.Event) -> None:
        with open_source(
            spec, follow_redirects=self._follow_redirects, clock=self._clock, stopping=stop.is_set
        ) as source:
            pipeline = self._loaded_pipeline()
            pipeline.reset()
            self.feed.set_source(source.name, pipeline.models, pipeline.providers)
            with Capture(source, pace="realtime", clock=self._clock) as capture:
                Runner(pipeline, capture, [self.feed], stopping=stop.is_set, clock=self._clock).run()

    def _loaded_pipeline(self) -> Pipeline:
        """The models, loaded at the first start and kept."""
        if self._pipeline is None:
            pipeline = Pipeline(**self._options, clock=self._clock)
            pipeline.warm_up()
            self._pipeline = pipeline
        return self._pipeline

"""The live view: one source and one pipeline, shared by all viewers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeharfer.app.feed import AppFeed
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.sources import display_name
from edgeharfer.app.wording import bug_message, page_message
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.address import redact_within
from edgeharfer.runtime.source.decode_devices import AUTO
from edgeharfer.runtime.tasks import ACTION

_log = logging.getLogger(__name__)


class LiveSession:
    """Starts and stops the live run, from one event loop; the run has its own thread.

    Args:
        options: Keyword arguments of `Pipeline`.
        make_scene: Creates the scene summary of a run.
        clock: The clock.
        idle_stop_s: Stop the run after this long without viewers; 0 never stops it.
        max_viewers: Most viewers at a time.
        follow_redirects: Let streams connect to other servers, see `open_source`.
        decode: Device that decodes videos and streams, see `open_source`.
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
        decode: str = AUTO,
    ) -> None:
        self.feed = AppFeed(make_scene, clock, max_viewers)
        self._options, self._clock = options, clock
        self._idle_stop_s, self._follow_redirects, self._decode = idle_stop_s, follow_redirects, decode
        self._changing = asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._action: Path | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    async def start(self, spec: str) -> None:
        """Start a source, and stop the current one."""

        def open_it(stopping: Callable[[], bool]) -> Source:
            return open_source(
                spec,
                follow_redirects=self._follow_redirects,
                decode=self._decode,
                clock=self._clock,
                stopping=stopping,
            )

        await self.start_source(display_name(spec), open_it)

    async def start_source(self, name: str, open_it: Callable[[Callable[[], bool]], Source]) -> None:
        """Start a source, and stop the current one.

        Args:
            name: Name of the source, as clients may see it.
            open_it: Opens the source in the thread of the run; its argument tells whether to stop. The run
                closes the source.
        """
        async with self._changing:
            await self._join()
            self._stop = threading.Event()
            self.feed.begin(name)
            self.feed.watched_s = self._clock.monotonic()
            self._thread = threading.Thread(target=self._run, args=(open_it, self._stop), name="live")
            self._thread.start()

    async def stop(self) -> None:
        """Stop the current source."""
        async with self._changing:
            await self._join()
            self.feed.begin()

    async def use_action(self, package: Path | None) -> None:
        """Stop the current source, and use an action package from the next start on.

        Args:
            package: Folder of the package; None for the package of the options.
        """
        async with self._changing:
            await self._join()
            self.feed.begin()
            self._action = package
            if self._pipeline is not None:
                self._pipeline.close()
                self._pipeline = None

    async def stop_if_unwatched(self) -> None:
        """Stop a run that has had no viewer for `idle_stop_s`. To be called about once a second."""
        unwatched_s = self._clock.monotonic() - self.feed.watched_s
        runs = self._thread is not None and self._thread.is_alive()
        if self._idle_stop_s and runs and unwatched_s > self._idle_stop_s:
            _log.info("stopped the live view: no viewer for %.0f s", unwatched_s)
            await self.stop()

    async def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _run(self, open_it: Callable[[Callable[[], bool]], Source], stop: threading.Event) -> None:
        """Run in the thread; an error is shown on the page."""
        error = ""
        try:
            self._process(open_it, stop)
        except KeyboardInterrupt:  # stopped while the source was opened
            pass
        except EdgeharferError as failure:
            _log.warning("the live view failed: %s", failure)
            error = page_message(failure)
        except Exception as bug:
            _log.exception("the live view failed with an internal error")
            error = bug_message(redact_within(f"{type(bug).__name__}: {bug}"))
        self.feed.end(error)

    def _process(self, open_it: Callable[[Callable[[], bool]], Source], stop: threading.Event) -> None:
        with open_it(stop.is_set) as source:
            pipeline = self._loaded_pipeline()
            pipeline.reset()
            self.feed.set_source(source, pipeline.models, pipeline.providers)
            with Capture(source, pace="realtime", clock=self._clock) as capture:
                watched = RunInput(pipeline, capture)
                Runner([watched], [self.feed], stopping=stop.is_set, clock=self._clock).run()

    def _loaded_pipeline(self) -> Pipeline:
        """The pipeline, created and warmed up at the first start."""
        if self._pipeline is None:
            action = {} if self._action is None else {ACTION: self._action}
            pipeline = Pipeline(**{**self._options, **action}, clock=self._clock)
            pipeline.warm_up()
            self._pipeline = pipeline
        return self._pipeline

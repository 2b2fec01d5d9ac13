"""The live view: one source, one pipeline, whoever looks on. Started and stopped from the page."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from edgeharfer.app.answers import Refusal, without_folders
from edgeharfer.app.scene import Scene
from edgeharfer.app.screen import Screen, View
from edgeharfer.app.sources import shown
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.address import redact_within

INTERVAL_S = 1 / 20
"""Between two pictures: more would cost more than it shows."""
HEARTBEAT_S = 1.0
"""How long a viewer waits where nothing is new."""
STALE_S = 0.9 * HEARTBEAT_S
"""After so long the figures beside a picture that stands are told anew."""
GONE_S = 4.0
"""A viewer who has not asked for so long has left."""

_log = logging.getLogger(__name__)


class Live:
    """Made, and used, in one event loop; the run has a thread of its own.

    make_scene: a new one for each run. idle_stop_s: the run ends after so long without a viewer; 0 is
    never. most: viewers at a time. follow_redirects: as of `open_source`.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        make_scene: Callable[[], Scene],
        clock: Clock,
        *,
        idle_stop_s: float = 0.0,
        most: int = 32,
        follow_redirects: bool = False,
    ) -> None:
        self._options, self._make_scene, self._clock = options, make_scene, clock
        self._idle_stop_s, self._most = idle_stop_s, most
        self._follow_redirects = follow_redirects
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._changing, self._printing = asyncio.Lock(), asyncio.Lock()
        self._pipeline: Pipeline | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._screen = self._new_screen("")
        self._view = View(-1, b"", b"")
        self._due_s = self._printed_s = clock.monotonic()
        self._viewers: dict[str, float] = {}
        self._watched_s = clock.monotonic()

    @property
    def viewers(self) -> int:
        """How many look on."""
        now_s = self._clock.monotonic()
        self._viewers = {name: at_s for name, at_s in self._viewers.items() if now_s - at_s < GONE_S}
        return len(self._viewers)

    @property
    def runs(self) -> bool:
        """Whether a source is watched."""
        return self._thread is not None and self._thread.is_alive()

    async def start(self, spec: str) -> None:
        """Watch another source in place of the one before."""
        async with self._changing:
            await self._end()
            self._stop = threading.Event()
            self._screen = self._new_screen(shown(spec), self._screen.number + 1)
            self._watched_s = self._clock.monotonic()
            self._thread = threading.Thread(
                target=self._run, args=(spec, self._screen, self._stop), name="live", daemon=False
            )
            self._thread.start()
            self._news.set()

    async def stop(self) -> None:
        """Watch nothing."""
        async with self._changing:
            await self._end()
            self._screen = self._new_screen("", self._screen.number + 1)
            self._news.set()

    async def look(self, viewer: str, after: int) -> View:
        """What is newer than `after`, or the same again after a while. Raises Refusal for one too many."""
        if self.viewers >= self._most and viewer not in self._viewers:
            raise Refusal(503, f"{self._most} viewers look on already; try again later")
        self._viewers[viewer] = self._watched_s = self._clock.monotonic()
        await self._wait(after)
        self._viewers[viewer] = self._clock.monotonic()
        return await self._print()

    async def tend(self) -> None:
        """Once a second: end a run that nobody has looked at for long."""
        unwatched_s = self._clock.monotonic() - self._watched_s
        if self._idle_stop_s and self.runs and unwatched_s > self._idle_stop_s:
            _log.info("nobody looks on: the live view ends")
            await self.stop()

    async def _wait(self, after: int) -> None:
        due_s = self._clock.monotonic() + HEARTBEAT_S
        while self._screen.number == after and (left_s := due_s - self._clock.monotonic()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left_s)
            except TimeoutError:
                return

    async def _print(self) -> View:
        """Encoded by the first who asks; the others, who wait here meanwhile, get the same bytes."""
        async with self._printing:
            if self._is_stale():
                await asyncio.sleep(self._due_s - self._clock.monotonic())
                self._printed_s = self._clock.monotonic()
                self._due_s = self._printed_s + INTERVAL_S
                self._view = await asyncio.to_thread(self._screen.print, self.viewers)
            return self._view

    def _is_stale(self) -> bool:
        old = self._clock.monotonic() - self._printed_s > STALE_S
        return old or self._view.number != self._screen.number

    def _new_screen(self, source: str, first: int = 0) -> Screen:
        def changed() -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._news.set)

        return Screen(self._make_scene(), self._clock, changed, source, first)

    async def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _run(self, spec: str, screen: Screen, stop: threading.Event) -> None:
        """The thread: whatever goes wrong is told on the page."""
        try:
            self._watch(spec, screen, stop)
        except KeyboardInterrupt:  # stopped while it was opened
            screen.end()
        except EdgeharferError as error:
            _log.warning("the live view ended: %s", error)
            screen.end(without_folders(str(error)))
        except Exception as error:
            _log.exception("the live view broke off")
            why = f"{type(error).__name__}: {redact_within(str(error))}"
            screen.end(without_folders(f"a defect, please report it: {why}"))
        else:
            screen.end()

    def _watch(self, spec: str, screen: Screen, stop: threading.Event) -> None:
        with open_source(
            spec, follow_redirects=self._follow_redirects, clock=self._clock, stopping=stop.is_set
        ) as source:
            pipeline = self._ready_pipeline()
            pipeline.reset()
            screen.opened(source.name, pipeline.models, pipeline.providers)
            with Capture(source, pace="realtime", clock=self._clock) as capture:
                Runner(pipeline, capture, [screen], stopping=stop.is_set, clock=self._clock).run()

    def _ready_pipeline(self) -> Pipeline:
        """The models, loaded at the first start and kept."""
        if self._pipeline is None:
            pipeline = Pipeline(**self._options, clock=self._clock)
            pipeline.warm_up()
            self._pipeline = pipeline
        return self._pipeline

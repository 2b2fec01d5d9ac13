"""The models in use: a new package is built beside the running one, then takes its place at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.update import current_package, roll_back
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.schedule import face_interval_s
from edgeharfer.runtime.tasks import ACTION, EMOTION, PACKAGE_TASKS, make_tasks

LOOK_EVERY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lineup:
    """The packages of one moment; None is off."""

    action: str | None
    emotion: str | None


@dataclass(frozen=True, slots=True)
class Engines:
    """The pipelines of a lineup: before the notice was confirmed, and after."""

    lineup: Lineup
    untold: Pipeline
    told: Pipeline


def wanted_lineup(config: KioskConfig, state: Path) -> Lineup:
    """What the configuration names, unless a package was installed in its place."""
    chosen: dict[str, str | None] = {}
    for task in PACKAGE_TASKS:
        named = getattr(config.models, task)
        installed = current_package(state, task)
        chosen[task] = None if named == "off" else str(installed or named)
    return Lineup(**chosen)


def build(
    config: KioskConfig, lineup: Lineup, clock: Clock, stopping: Callable[[], bool] = lambda: False
) -> Engines:
    """Load, check and warm up. Raises what Pipeline raises, and ModelError where a signature lacks.

    stopping: asked between the parts, which take seconds on a busy machine; once true, KeyboardInterrupt is
    raised.
    """

    key = config.models.signature_key

    def package(name: str | None, task: str) -> Package | None:
        return None if name is None else load_package(name, task, require_signature=key)

    def pipeline(emotion: str | None, tasks: Sequence[str] = ()) -> Pipeline:
        _heed(stopping)
        made = Pipeline(
            action=package(lineup.action, ACTION),
            emotion=package(emotion, EMOTION),
            extra_tasks=make_tasks(tasks, config.models.backend, require_signature=key),
            detector=config.models.detector,
            backend=config.models.backend,
            face_interval_s=face_interval_s(config.models.face_rate),
            clock=clock,
        )
        made.keep_pace()
        _heed(stopping)
        made.warm_up()
        return made

    told = pipeline(lineup.emotion, config.models.tasks)
    notice_first = config.privacy.notice_required and config.models.reads_faces
    return Engines(lineup, pipeline(None) if notice_first else told, told)


def _heed(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise KeyboardInterrupt


class Slot:
    """Holds the engines in use and watches for other ones.

    `poll`, called between frames, gives the new engines once they are built in a thread beside. Where they
    cannot be, the installed packages are rolled back and the old engines stay.
    """

    def __init__(
        self,
        config: KioskConfig,
        state: Path,
        clock: Clock,
        *,
        make: Callable[[KioskConfig, Lineup, Clock], Engines] = build,
    ) -> None:
        self._config, self._state, self._clock, self._make = config, state, clock, make
        self._built: Engines | None = None
        self._thread: threading.Thread | None = None
        self._look_s = clock.monotonic()
        self.failures = 0
        self.engines = self._first()

    def poll(self) -> bool:
        """Whether other engines have taken over since the last call."""
        if self._thread is not None:
            return self._take_over()
        now_s = self._clock.monotonic()
        if now_s - self._look_s >= LOOK_EVERY_S:
            self._look_s = now_s
            lineup = wanted_lineup(self._config, self._state)
            if lineup != self.engines.lineup:
                self._thread = threading.Thread(
                    target=self._build, args=(lineup,), name="models", daemon=False
                )
                self._thread.start()
        return False

    def close(self) -> None:
        """Wait for what is being built."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _first(self) -> Engines:
        """At start an installed package that does not load must not stop the service."""
        lineup = wanted_lineup(self._config, self._state)
        try:
            return self._make(self._config, lineup, self._clock)
        except EdgeharferError as error:
            if not self._roll_back(lineup, error):
                raise
            return self._make(self._config, wanted_lineup(self._config, self._state), self._clock)

    def _build(self, lineup: Lineup) -> None:
        try:
            self._built = self._make(self._config, lineup, self._clock)
        except KeyboardInterrupt:  # the service stops, and needs no other models
            return
        except EdgeharferError as error:
            self._roll_back(lineup, error)

    def _take_over(self) -> bool:
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread.join()
        self._thread = None
        built, self._built = self._built, None
        if built is not None:
            self.engines = built
            _log.info("models: %s", built.told.models)
        return built is not None

    def _roll_back(self, lineup: Lineup, error: EdgeharferError) -> bool:
        """Undo each installation of this lineup; whether there was one."""
        self.failures += 1
        _log.warning("models: %s; the ones before stay in use", error)
        changed = [
            task
            for task in PACKAGE_TASKS
            if (installed := current_package(self._state, task)) is not None
            and str(installed) == getattr(lineup, task)
        ]
        try:
            for task in changed:
                roll_back(self._state, task)
        except OSError as problem:
            _log.warning("models: cannot be rolled back: %s", problem)
            return False
        return bool(changed)

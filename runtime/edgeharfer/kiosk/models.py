"""The models in use; a newly installed package is loaded in the background and replaces the old one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.update import current_package, roll_back
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.schedule import face_interval_s
from edgeharfer.runtime.tasks import ACTION, EMOTION, PACKAGE_TASKS, make_tasks

POLL_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSelection:
    """Name or folder of the package of each task; None disables the task."""

    action: str | None
    emotion: str | None


def select_models(config: KioskConfig, state: Path) -> ModelSelection:
    """The installed packages, or those of the configuration where none is installed."""
    chosen: dict[str, str | None] = {}
    for task in PACKAGE_TASKS:
        named = getattr(config.models, task)
        installed = current_package(state, task)
        chosen[task] = None if named == "off" else str(installed or named)
    return ModelSelection(**chosen)


def load_pipeline(
    config: KioskConfig, selection: ModelSelection, clock: Clock, stopping: Callable[[], bool] = lambda: False
) -> Pipeline:
    """Load, check and warm up the models.

    Args:
        config: The kiosk's configuration.
        selection: The packages.
        clock: The clock.
        stopping: Polled between the steps, each of which can take seconds; returns True to stop.

    Raises:
        ModelError: A package cannot be used, or has no signature where one is required.
        KeyboardInterrupt: `stopping` returned True.
        EdgeharferError: See `Pipeline`.
    """
    models = config.models

    def package(name: str | None, task: str) -> Package | None:
        _check(stopping)
        return None if name is None else load_package(name, task, require_signature=models.signature_key)

    pipeline = Pipeline(
        action=package(selection.action, ACTION),
        emotion=package(selection.emotion, EMOTION),
        detector=models.detector,
        backend=models.backend,
        face_interval_s=face_interval_s(models.face_rate),
        extra_tasks=make_tasks(models.tasks, models.backend, require_signature=models.signature_key),
        clock=clock,
    )
    _check(stopping)
    pipeline.warm_up()
    return pipeline


def _check(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise KeyboardInterrupt


class ModelReloader:
    """Holds the pipeline in use, and reloads it when packages are installed.

    If a new package cannot be loaded, its installation is rolled back and the pipeline stays in use.

    Args:
        config: The kiosk's configuration.
        state: The state folder.
        clock: The clock.
        load: Creates the pipeline of a selection.

    Attributes:
        failures: Number of packages that could not be loaded.
        selection: The packages in use.
        pipeline: The pipeline in use.
    """

    def __init__(
        self,
        config: KioskConfig,
        state: Path,
        clock: Clock,
        *,
        load: Callable[[KioskConfig, ModelSelection, Clock], Pipeline] = load_pipeline,
    ) -> None:
        self._config, self._state, self._clock, self._load = config, state, clock, load
        self._loaded: tuple[ModelSelection, Pipeline] | None = None
        self._thread: threading.Thread | None = None
        self._polled_s = clock.monotonic()
        self.failures = 0
        self.selection, self.pipeline = self._load_first()

    def poll(self) -> bool:
        """Switch to a newly loaded pipeline, if there is one; whether it did. To be called between frames."""
        if self._thread is not None:
            return self._take_over()
        now_s = self._clock.monotonic()
        if now_s - self._polled_s >= POLL_INTERVAL_S:
            self._polled_s = now_s
            selection = select_models(self._config, self._state)
            if selection != self.selection:
                load = partial(self._load_in_background, selection)
                self._thread = threading.Thread(target=load, name="models", daemon=False)
                self._thread.start()
        return False

    def close(self) -> None:
        """Wait for the background thread, and close the pipelines."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
        self.pipeline.close()

    def _load_first(self) -> tuple[ModelSelection, Pipeline]:
        """Load the installed packages; roll back those that cannot be loaded, and load the ones before."""
        selection = select_models(self._config, self._state)
        try:
            return selection, self._load(self._config, selection, self._clock)
        except EdgeharferError as error:
            if not self._roll_back(selection, error):
                raise
            selection = select_models(self._config, self._state)
            return selection, self._load(self._config, selection, self._clock)

    def _load_in_background(self, selection: ModelSelection) -> None:
        try:
            self._loaded = selection, self._load(self._config, selection, self._clock)
        except KeyboardInterrupt:  # the service is stopping
            return
        except EdgeharferError as error:
            self._roll_back(selection, error)

    def _take_over(self) -> bool:
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread.join()
        self._thread = None
        if self._loaded is None:
            return False
        self.pipeline.close()
        (self.selection, self.pipeline), self._loaded = self._loaded, None
        _log.info("models: %s", self.pipeline.models)
        return True

    def _roll_back(self, selection: ModelSelection, error: EdgeharferError) -> bool:
        """Roll back the installed packages of this selection; whether there were any."""
        self.failures += 1
        _log.warning("models: %s; the previous models stay in use", error)
        changed = [
            task
            for task in PACKAGE_TASKS
            if (installed := current_package(self._state, task)) is not None
            and str(installed) == getattr(selection, task)
        ]
        try:
            for task in changed:
                roll_back(self._state, task)
        except OSError as problem:
            _log.warning("models: rollback failed: %s", problem)
            return False
        return bool(changed)

"""Health of the service, for /readyz, the metrics and systemd's status line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.models import ModelReloader
from edgeharfer.kiosk.mqtt import MqttPublisher
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import PrivacyNotice
from edgeharfer.kiosk.state import KioskState
from edgeharfer.runtime.clock import Clock, ClockJumpDetector
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame
from edgeharfer.runtime.versions import product_version

FRESH_S = 2.0
"""Without a result for this long the service is not ready."""

_log = logging.getLogger(__name__)


class HealthMonitor(Sink):
    """Monitors the source and the results. `update` is called between frames and while there is no source.

    Args:
        models: The pipeline in use.
        notice: The privacy notice.
        state: Receives the health.
        metrics: Receives the figures.
        clock: The clock.
        jumps: Shared with the runs of the source, so that each jump of the wall clock is logged once.
        send: Sends "STATUS=…" to systemd.
        outbox: The outbox, if there is a broker.
        mqtt: The publisher, if there is a broker.

    Attributes:
        source_state: State of the source.
        result_s: Monotonic time of the last result; None before the first.
    """

    def __init__(
        self,
        models: ModelReloader,
        notice: PrivacyNotice,
        state: KioskState,
        metrics: Metrics,
        clock: Clock,
        jumps: ClockJumpDetector,
        *,
        send: Callable[[str], object],
        outbox: Outbox | None = None,
        mqtt: MqttPublisher | None = None,
    ) -> None:
        self.source_state = ""
        self._states: dict[str, str] = {}  # of several sources
        self.result_s: float | None = None
        self._models, self._notice, self._state, self._metrics = models, notice, state, metrics
        self._clock, self._jumps, self._send, self._outbox, self._mqtt = clock, jumps, send, outbox, mqtt
        if outbox is not None:
            metrics.outbox.set_function(outbox.__len__)
        self.show_models()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.result_s = self._clock.monotonic()
        self._observe(status)

    def refresh(self, status: Status) -> None:
        self._observe(status)

    def _observe(self, status: Status) -> None:
        """Record the state of a source; several are live together while one of them is."""
        state = str(status.source_state)
        if status.source:
            self._states[status.source] = state
            state = "live" if "live" in self._states.values() else state
        self._publish_state(state)

    def set_source_state(self, source_state: str) -> None:
        """Publish the state of the source, or of all sources."""
        self._states = dict.fromkeys(self._states, source_state)
        self._publish_state(source_state)

    def _publish_state(self, source_state: str) -> None:
        if source_state != self.source_state:
            self.source_state = str(source_state)
            self._metrics.show_state(self.source_state)
            self._send(f"STATUS=source {self.source_state}")

    def show_models(self) -> None:
        """Publish the models in use."""
        pipeline = self._models.pipeline
        self._metrics.show_models(product_version(), pipeline.models, pipeline.providers)

    def update(self) -> None:
        """Publish the current health."""
        if jump := self._jumps.check():
            _log.warning("%s", jump)
        problem = self._problem()
        self._state.set_health(problem, self._details())
        self._metrics.ready.set(not problem)
        self._metrics.notice.set(self._notice.given)
        if self._mqtt is not None:
            self._metrics.connected.set(self._mqtt.connected)
        if self._outbox is not None:
            self._metrics.outbox_dropped.set(self._outbox.dropped)

    def _problem(self) -> str:
        """Why the service is not ready; "" if it is."""
        if self.source_state != "live":
            return f"source {self.source_state or 'starting'}"
        fresh = self.result_s is not None and self._clock.monotonic() - self.result_s < FRESH_S
        return "" if fresh else "no result"

    def _details(self) -> Mapping[str, Any]:
        details: dict[str, Any] = {
            "source": self.source_state,
            **({"sources": dict(self._states)} if self._states else {}),
            "models": self._models.pipeline.models,
            "provider": self._models.pipeline.providers,
            "notice_given": self._notice.given,
        }
        if self._mqtt is not None:
            details["mqtt"] = self._mqtt.state
        return details

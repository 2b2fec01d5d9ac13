"""Prometheus metrics, in a registry of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from edgeharfer.kiosk.decisions import Decisions, Event
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sensors import temperatures
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status, rss_mb
from edgeharfer.runtime.types import Frame

STATES = ("starting", "connecting", "live", "stalled", "frozen", "lost", "backoff", "ended")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics(Sink):
    """The metrics of the service; `text` renders them for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(f"edgeharfer_{name}", help, labels, registry=self.registry)

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"edgeharfer_{name}", help, labels, registry=self.registry)

        self.info = Info("edgeharfer", "Version, models and providers in use", registry=self.registry)
        self.frames = counter("frames_total", "Processed frames")
        self.dropped = counter("frames_dropped_total", "Frames dropped in favour of newer ones")
        self.age = Histogram(
            "edgeharfer_frame_age_seconds",
            "Age of a frame when its result is ready",
            registry=self.registry,
            buckets=SECONDS,
        )
        self.stages = Histogram(
            "edgeharfer_stage_seconds",
            "Processing time of a stage",
            ["stage"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.state = gauge("source_state", "1 for the current state of the source", "state")
        self.source_live = gauge("source_live", "1 while one of several sources is live", "source")
        self.source_frames = counter(
            "source_frames_total", "Processed frames of one of several sources", "source"
        )
        self.ready = gauge("ready", "1 while the service is ready")
        self.reconnects = counter("source_reconnects_total", "Times the source was reopened")
        self.starts = gauge("starts", "Starts of the service since its installation")
        self.people = gauge("people", "Faces in view")
        self.reading = gauge("reading", "Values of additional tasks, for the largest face", "task", "name")
        self.notice = gauge("notice_given", "1 while emotions may be estimated")
        self.events = counter("events_total", "Decisions that started or ended", "type", "phase")
        self.delay = Histogram(
            "edgeharfer_decision_delay_seconds", "From the first frame with a label to its decision",
            registry=self.registry, buckets=DELAYS,
        )  # fmt: skip
        self.flips = gauge("flips_per_minute", "Label changes in the last minute", "of")
        self.outbox = gauge("outbox_events", "Events waiting for the broker")
        self.outbox_dropped = gauge(
            "outbox_dropped", "Undelivered events that were deleted: too old or too many"
        )
        self.connected = gauge("mqtt_connected", "1 while connected to the broker")
        self.errors = counter("errors_total", "Errors that the service recovered from", "where")
        self.temperature = gauge("temperature_celsius", "Temperature of a thermal zone", "zone")
        self.memory = gauge("resident_memory_bytes", "Resident memory of this process")
        self._dropped: dict[str, int] = {}  # by source, as the next one
        self._people: dict[str, int] = {}
        self._readings: set[tuple[str, str]] = set()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.count(result)
        self.count_dropped(status.frames_dropped, status.source)
        self._count_source(status, frames=1)

    def refresh(self, status: Status) -> None:
        self.count_dropped(status.frames_dropped, status.source)
        self._count_source(status)

    def _count_source(self, status: Status, frames: int = 0) -> None:
        """Set the figures of one of several sources."""
        if status.source:
            self.source_frames.labels(status.source).inc(frames)
            self.source_live.labels(status.source).set(status.source_state == "live")

    def count(self, result: Result) -> None:
        """Count one result."""
        self.frames.inc()
        self.age.observe(max(0.0, result.age_ms) / 1e3)
        for stage, milliseconds in result.stages_ms.items():
            self.stages.labels(stage).observe(milliseconds / 1e3)
        self._people[result.source] = len(result.faces)
        self.people.set(sum(self._people.values()))
        self._show_readings(result)

    def _show_readings(self, result: Result) -> None:
        """Set the values of the scene and of the largest face, and remove those without a face."""
        face = max(result.faces, key=lambda face: face.box.area, default=None)
        values = {
            (task, name): value
            for readings in (result.readings, face.readings if face else {})
            for task, reading in readings.items()
            for name, value in (reading.values or {}).items()
        }
        for key in self._readings - values.keys():
            self.reading.remove(*key)
        for key, value in values.items():
            self.reading.labels(*key).set(value)
        self._readings = set(values)

    def count_event(self, event: Event) -> None:
        """Count an event and, for a start, its delay."""
        self.events.labels(event.kind, event.phase).inc()
        if event.phase == "start":
            self.delay.observe(max(0.0, event.delay_s))

    def count_dropped(self, total: int, source: str = "") -> None:
        """Count dropped frames. `total` is that of the source in this run; the next run starts at zero."""
        before = self._dropped.get(source, 0)
        self.dropped.inc(total - before if total >= before else total)
        self._dropped[source] = total

    def show_state(self, state: str) -> None:
        """Set the state of the source."""
        for one in STATES:
            self.state.labels(one).set(one == state)

    def show_starts(self, count: int | None) -> None:
        """Set the number of starts; None if unknown."""
        self.starts.set(math.nan if count is None else count)

    def show_flips(self, decisions: Sequence[Decisions]) -> None:
        """Set the label changes per minute of models and decisions, of all sources."""
        self.flips.labels("model").set(sum(one.raw_flips.per_minute(one.now_s) for one in decisions))
        self.flips.labels("decision").set(sum(one.decided_flips.per_minute(one.now_s) for one in decisions))

    def show_models(self, version: str, models: Mapping[str, str], providers: Mapping[str, str]) -> None:
        """Set version, models and providers in use."""
        named = {**dict(models.items()), **{f"{k}_provider": v for k, v in providers.items()}}
        self.info.info({"version": version, **named})

    def text(self) -> bytes:
        """The metrics in Prometheus's text format, with current memory and temperatures."""
        memory_mb = rss_mb()
        if memory_mb is not None:
            self.memory.set(memory_mb * 2**20)
        for zone, celsius in temperatures():
            self.temperature.labels(zone).set(celsius)
        exposition: bytes = generate_latest(self.registry)
        return exposition

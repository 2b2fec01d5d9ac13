"""The kiosk service: runs its sources again and again, with sinks for events, metrics, page and watchdog."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from edgeharfer.kiosk.calibration import load_floors
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.event_publisher import EventPublisher, end_open_decisions
from edgeharfer.kiosk.health import HealthMonitor
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.models import ModelReloader, load_pipeline
from edgeharfer.kiosk.mqtt import MqttPublisher
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import PrivacyNotice, check_purpose, hide_zones
from edgeharfer.kiosk.screen import ScreenSink
from edgeharfer.kiosk.startup import Startup, count_start, state_lock
from edgeharfer.kiosk.state import KioskState, ScreenContent
from edgeharfer.kiosk.systemd import WatchdogPinger, notify, watchdog_s
from edgeharfer.kiosk.topics import Topics
from edgeharfer.kiosk.web import WebPort
from edgeharfer.runtime.capture import Capture, stop_all
from edgeharfer.runtime.channel import RunInput
from edgeharfer.runtime.clock import Clock, ClockJumpDetector, SystemClock
from edgeharfer.runtime.errors import EdgeharferError, SourceError
from edgeharfer.runtime.inputs import SourceSpec, open_sources
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.process import pipeline_process
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.address import redact_within
from edgeharfer.runtime.versions import product_version

WAIT_S = 0.1
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0

_log = logging.getLogger(__name__)


def run_kiosk(
    config: KioskConfig,
    state_folder: Path,
    *,
    stopping: Callable[[], bool],
    duration_s: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the kiosk until it is stopped. Transient faults, such as a full disk or a port in use, are retried.

    Args:
        config: The configuration.
        state_folder: The state folder.
        stopping: Polled often; returns True to stop.
        duration_s: Stop after this time; None for no limit.
        clock: The clock.

    Raises:
        EdgeharferError: A fault needs attention, such as another process using the state folder.
        KeyboardInterrupt: Stopped before the models were loaded.
    """
    check_purpose(config)
    clock = clock or SystemClock()
    over = _stop_condition(stopping, duration_s, clock)
    with ExitStack() as stack:
        metrics, state = Metrics(), KioskState(config, clock)
        watchdog = WatchdogPinger(notify, watchdog_s(), clock)
        startup = Startup(stopping, over, watchdog, clock)
        startup.show = lambda fault: state.set_health(fault, {})
        startup.step(lambda: stack.enter_context(state_lock(state_folder)))
        metrics.show_starts(count_start(state_folder))
        port = startup.step(lambda: WebPort(config.health.port, state, metrics.text))
        stack.enter_context(port)
        outbox, mqtt = startup.step(lambda: open_mqtt(config, state_folder, clock))
        if outbox is not None:
            stack.enter_context(outbox)
        models = ModelReloader(config, state_folder, clock, load=partial(load_pipeline, stopping=stopping))
        stack.callback(models.close)
        if mqtt is not None:  # last, so that "online" is published once the kiosk works
            stack.enter_context(mqtt)
        decisions = Decisions(config.decisions, load_floors(state_folder))
        events = EventPublisher(decisions, outbox, Topics(config), metrics, clock)
        stack.callback(events.end_all, "stopped")
        service = Service(config, models, events, state, metrics, clock, over, outbox=outbox, mqtt=mqtt)
        _log_addresses(config, port.port)
        notify("READY=1\nSTATUS=models loaded")
        stack.callback(notify, "STOPPING=1")
        service.run()


def _log_addresses(config: KioskConfig, port: int) -> None:
    page = f"http://127.0.0.1:{port}/"
    _log.info("%s shows the page, /readyz and /metrics", page)
    if config.screen.view == "window":
        _log.warning(
            'screen.view = "window" is no longer supported; open %s in a browser in kiosk mode '
            "(docs/kiosk.md)",
            page,
        )


def open_mqtt(
    config: KioskConfig, state_folder: Path, clock: Clock
) -> tuple[Outbox, MqttPublisher] | tuple[None, None]:
    """Open the outbox, end the open decisions of a killed process, and create the publisher.

    Returns:
        Both, or (None, None) without a broker.

    Raises:
        SinkError: The outbox cannot be used.
        ConfigError: The password or CA file cannot be used.
    """
    if not config.mqtt.host:
        return None, None
    outbox = Outbox(state_folder / "outbox.db", clock, retention_days=config.privacy.retention_days)
    try:
        end_open_decisions(outbox)
        return outbox, MqttPublisher(config, outbox, clock, version=product_version())
    except EdgeharferError:
        outbox.close()
        raise


class Service:
    """Runs the source to its end, and reopens it with an exponential backoff.

    Args:
        config: The configuration.
        models: The models in use.
        events: The event publisher.
        state: The state for page and health checks.
        metrics: The metrics.
        clock: The clock.
        over: Polled many times a second; returns True to stop.
        outbox: The outbox, if there is a broker.
        mqtt: The publisher, if there is a broker.
        send: Sends messages to systemd.
        opener: Opens the source, see `open_source`.
    """

    def __init__(
        self,
        config: KioskConfig,
        models: ModelReloader,
        events: EventPublisher,
        state: KioskState,
        metrics: Metrics,
        clock: Clock,
        over: Callable[[], bool],
        *,
        outbox: Outbox | None = None,
        mqtt: MqttPublisher | None = None,
        send: Callable[[str], object] = notify,
        opener: Callable[..., Source] = open_source,
    ) -> None:
        self._config, self._models, self._events, self._state = config, models, events, state
        self._metrics, self._clock, self._stop_condition, self._opener = metrics, clock, over, opener
        self._jumps = ClockJumpDetector(clock)
        self._shared: list[Pipeline] = []
        privacy = config.privacy
        self._notice = PrivacyNotice(
            required=privacy.notice_required,
            forget_s=privacy.notice_forget_s,
            decline_forget_s=privacy.decline_forget_s,
            clock=clock,
        )
        self._watchdog = WatchdogPinger(send, watchdog_s(), clock)
        self._health = HealthMonitor(
            models, self._notice, state, metrics, clock, self._jumps, send=send, outbox=outbox, mqtt=mqtt
        )
        screen = ScreenSink(config, state, events, self._notice)
        self._sinks = [events, metrics, screen, self._health, self._watchdog]

    def run(self) -> None:
        """Run until `over` returns True."""
        with pipeline_process():
            self._run_sources()

    def _run_sources(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop_condition():
            result_s = self._health.result_s
            self._run_source()
            if self._stop_condition():
                return
            worked = self._health.result_s != result_s
            pause_s = FIRST_PAUSE_S if worked else min(2 * pause_s, MAX_PAUSE_S)
            self._wait(pause_s)
            self._metrics.reconnects.inc()

    def _run_source(self) -> None:
        """Open the sources and run them to their end."""
        try:
            with ExitStack() as stack:
                changed = threading.Event()
                captures = [
                    stack.enter_context(Capture(source, pace="realtime", clock=self._clock, changed=changed))
                    for source in self._open_sources(stack)
                ]
                stack.callback(stop_all, captures)
                Runner(
                    [self._input(number, capture) for number, capture in enumerate(captures)],
                    self._sinks,
                    stopping=self._stop_condition,
                    clock=self._clock,
                    jumps=self._jumps,
                    changed=changed,
                ).run()
        except SourceError as error:
            if self._health.source_state != "lost":
                _log.warning("%s", redact_within(str(error)))
        except KeyboardInterrupt:  # stopped while the source was opened
            return

    def _open_sources(self, stack: ExitStack) -> Sequence[Source]:
        specs = [
            SourceSpec(one.spec, one.name, {"follow_redirects": one.follow_redirects, "decode": one.decode})
            for one in self._config.sources
        ]
        opening = {"clock": self._clock}
        return open_sources(specs, opening, stack, self._while_connecting, opener=self._opener)

    def _input(self, number: int, capture: Capture) -> RunInput:
        """Return a source of the run; the first one also polls for new models."""
        config = self._config.sources[number]
        zones = (*self._config.privacy.ignore_zones, *config.ignore_zones)
        several = len(self._config.sources) > 1
        return RunInput(
            self._pipelines()[number],
            capture,
            config.name if several else "",
            lambda frame: hide_zones(frame, zones),
            lambda: self._pipelines()[number] if number else self._before_frame(),
        )

    def _pipelines(self) -> Sequence[Pipeline]:
        """Return a pipeline for each source, which share the models in use."""
        first = self._models.pipeline
        if not self._shared or self._shared[0] is not first:
            others = [first.for_another_source() for _ in self._config.further_sources]
            self._shared = [first, *others]
        return self._shared

    def _before_frame(self) -> Pipeline:
        """Apply new models and an answer to the notice; returns the pipeline for the frame."""
        if self._models.poll():
            self._events.end_all("changed")  # the new pipeline numbers its tracks from 1 again
            self._health.show_models()
        match self._state.pop_answer():
            case True:
                self._notice.confirm()
            case False:
                self._notice.decline()
        for pipeline in self._pipelines():
            self._notice.apply(pipeline)
        self._health.update()
        return self._models.pipeline

    def _while_connecting(self) -> bool:
        """Update the health while a live source is opened; whether to stop. Polled many times a second."""
        self._health.update()
        self._watchdog.observe_state("connecting")
        return self._stop_condition()

    def _wait(self, pause_s: float) -> None:
        """End all decisions, reset the pipeline and wait before the source is reopened."""
        self._events.end_all("lost")
        for pipeline in self._pipelines():
            pipeline.reset()
        self._health.set_source_state("lost")
        self._state.show(ScreenContent(state="lost"))
        until_s = self._clock.monotonic() + pause_s
        while not self._stop_condition() and self._clock.monotonic() < until_s:
            self._health.update()
            self._watchdog.observe_state("lost")
            self._clock.sleep(WAIT_S)
        self._watchdog.ping()


def _stop_condition(
    stopping: Callable[[], bool], duration_s: float | None, clock: Clock
) -> Callable[[], bool]:
    end_s = None if duration_s is None else clock.monotonic() + duration_s
    return lambda: stopping() or (end_s is not None and clock.monotonic() >= end_s)

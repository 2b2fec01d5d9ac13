"""The kiosk's loop: frames to results, results to decisions, and every state told to whoever asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeharfer.kiosk.calibration import load_floors
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.courier import Courier
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.desk import Desk, Scene
from edgeharfer.kiosk.heart import Heart
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.notify import notify, watchdog_s
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import Notice, check_purpose, hide_zones
from edgeharfer.kiosk.slot import Slot, build
from edgeharfer.kiosk.startup import Start, count_start, state_lock
from edgeharfer.kiosk.teller import Teller, end_left_open
from edgeharfer.kiosk.topics import Topics
from edgeharfer.kiosk.web import WebPort
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, JumpWatch, SystemClock
from edgeharfer.runtime.errors import EdgeharferError, SourceError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.address import redact_within
from edgeharfer.runtime.types import Frame, Result
from edgeharfer.runtime.versions import product_version

WAIT_S = 0.1
FRESH_S = 2.0
"""Without a result for so long the service is not ready."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0

_log = logging.getLogger(__name__)


def run_kiosk(
    config: KioskConfig,
    state: Path,
    *,
    stopping: Callable[[], bool],
    duration_s: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Run until told to stop. A fault that passes, such as a full disk or a taken port, is waited out.

    Raises what a person has to remove, another process on the same state folder included. A stop before the
    first models are loaded raises KeyboardInterrupt.
    """
    check_purpose(config)
    clock = clock or SystemClock()
    over = _over(stopping, duration_s, clock)
    with ExitStack() as stack:
        metrics, desk = Metrics(), Desk(config, clock)
        start = Start(stopping, over, Heart(notify, watchdog_s(), clock), clock)
        start.show = lambda fault: desk.turn(fault, {})
        start.step(lambda: stack.enter_context(state_lock(state)))
        metrics.show_starts(count_start(state))
        port = start.step(lambda: WebPort(config.health.port, desk, metrics.text))
        stack.enter_context(port)
        outbox, courier = start.step(lambda: open_mail(config, state, clock))
        if outbox is not None:
            stack.enter_context(outbox)
        slot = Slot(config, state, clock, make=partial(build, stopping=stopping))
        stack.callback(slot.close)
        if courier is not None:  # last, so that "online" is said of a kiosk that works
            stack.enter_context(courier)
        decisions = Decisions(config.decisions, load_floors(state))
        teller = Teller(decisions, outbox, Topics(config), metrics, clock)
        stack.callback(teller.close, "stopped")
        service = Service(config, slot, teller, desk, metrics, clock, over)
        service.attach(outbox, courier)
        if config.screen.view == "window":
            service.show = enter_window(stack, desk, clock)
        _log.info("http://127.0.0.1:%d shows the page, /readyz and /metrics", port.port)
        notify("READY=1\nSTATUS=models loaded")
        stack.callback(notify, "STOPPING=1")
        service.run()


def open_mail(config: KioskConfig, state: Path, clock: Clock) -> tuple[Outbox, Courier] | tuple[None, None]:
    """Open the outbox, end what a killed process left open, and prepare the connection to the broker.

    Without a broker nothing is kept. Raises SinkError, or ConfigError for an unusable password or CA file.
    """
    if not config.mqtt.host:
        return None, None
    outbox = Outbox(state / "outbox.db", clock, retention_days=config.privacy.retention_days)
    try:
        end_left_open(outbox)
        return outbox, Courier(config, outbox, clock, version=product_version())
    except EdgeharferError:
        outbox.close()
        raise


class Service:
    """The loop. `over` is asked and `show`, the window's turn, is called each time round."""

    def __init__(
        self,
        config: KioskConfig,
        slot: Slot,
        teller: Teller,
        desk: Desk,
        metrics: Metrics,
        clock: Clock,
        over: Callable[[], bool],
        *,
        send: Callable[[str], object] = notify,
        opener: Callable[..., Source] = open_source,
    ) -> None:
        self._config, self._slot, self._teller, self._desk = config, slot, teller, desk
        self._metrics, self._clock, self._over, self._opener = metrics, clock, over, opener
        self._send = send
        self._heart, self._jumps = Heart(send, watchdog_s(), clock), JumpWatch(clock)
        privacy = config.privacy
        self._notice = Notice(required=privacy.notice_required, forget_s=privacy.notice_forget_s, clock=clock)
        self._pipeline: Pipeline | None = None
        self._result_s: float | None = None
        self._state, self._breaks = "", 0
        self._outbox: Outbox | None = None
        self._courier: Courier | None = None
        self.show: Callable[[], None] = lambda: None
        self._show_models()

    def attach(self, outbox: Outbox | None, courier: Courier | None) -> None:
        """Name what health tells of the way to the broker."""
        self._outbox, self._courier = outbox, courier
        if outbox is not None:
            self._metrics.outbox.set_function(outbox.__len__)

    def run(self) -> None:
        """Until it is over; a source that cannot be opened is tried again and again."""
        pause_s, source_config = FIRST_PAUSE_S, self._config.source
        while not self._over():
            before_s = self._result_s
            try:
                with (
                    self._opener(
                        source_config.spec,
                        follow_redirects=source_config.follow_redirects,
                        clock=self._clock,
                        stopping=self._waits_in_vain,
                    ) as source,
                    Capture(source, pace="realtime", clock=self._clock) as capture,
                ):
                    self._watch(capture)
            except SourceError as error:
                if self._state != "lost":
                    _log.warning("%s", redact_within(str(error)))
            except KeyboardInterrupt:  # the end came while it was opened
                return
            if self._over():
                return
            pause_s = FIRST_PAUSE_S if self._result_s != before_s else min(2 * pause_s, LONGEST_PAUSE_S)
            self._do_without(pause_s)
            self._metrics.reconnects.inc()

    def _waits_in_vain(self) -> bool:
        """Asked again and again while a live source opens, which is bounded in time: whether to give up."""
        self._turn()
        self._heart.waiting("connecting")
        return self._over()

    def _watch(self, capture: Capture) -> None:
        """One source, to its end."""
        self._breaks = capture.breaks
        while not self._over():
            self._follow(capture)
            frame = capture.next_frame(WAIT_S)
            if frame is not None:
                self._take(frame, capture)
            elif capture.ended:
                return
            else:
                self._heart.waiting(capture.state)

    def _follow(self, capture: Capture) -> None:
        """What may have changed between two frames: models, the notice, the source."""
        if self._slot.poll():
            self._show_models()
        if self._desk.take_confirmation():
            self._notice.confirm()
        if capture.breaks != self._breaks:
            self._breaks = capture.breaks
            self._forget("lost")
        self._metrics.count_dropped(capture.dropped)
        self._enter(str(capture.state))
        self._turn()

    def _take(self, frame: Frame, capture: Capture) -> None:
        frame = replace(frame, bgr=hide_zones(frame.bgr, self._config.privacy.ignore_zones))
        result = self._engine().process(frame)
        if capture.outdated(frame):  # this process was stopped meanwhile
            return
        self._result_s = self._clock.monotonic()
        self._notice.see(len(result.faces))
        self._metrics.count(result)
        self._teller.take(result)
        self._desk.show(self._scene(result), (frame, result))
        self._heart.progress()

    def _engine(self) -> Pipeline:
        """The pipeline that may be used now; one that was not in use forgets what it saw before."""
        engines = self._slot.engines
        pipeline = engines.told if self._notice.given else engines.untold
        if pipeline is not self._pipeline:
            self._teller.close("changed")  # its tracks are numbered anew, and are other people
            pipeline.reset()
            self._pipeline = pipeline
        return pipeline

    def _do_without(self, pause_s: float) -> None:
        """No source: say so, and wait in pieces."""
        self._enter("lost")
        self._forget("lost")
        until_s = self._clock.monotonic() + pause_s
        while not self._over() and self._clock.monotonic() < until_s:
            self._turn()
            self._heart.waiting("lost")
            self._clock.sleep(WAIT_S)
        self._heart.attempt()

    def _forget(self, reason: str) -> None:
        """Frames were missed: nothing that was seen before says anything of now."""
        self._teller.close(reason)
        if self._pipeline is not None:
            self._pipeline.reset()
        self._desk.show(Scene(state=self._state))

    def _enter(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._metrics.show_state(state)
            self._send(f"STATUS=source {state}")

    def _turn(self) -> None:
        if jump := self._jumps.look():
            _log.warning("%s", jump)
        lack = self._lack()
        self._desk.turn(lack, self._details())
        self._metrics.ready.set(not lack)
        self._metrics.notice.set(self._notice.given)
        if self._courier is not None:
            self._metrics.connected.set(self._courier.connected)
        if self._outbox is not None:
            self._metrics.outbox_dropped.set(self._outbox.dropped)
        self.show()

    def _lack(self) -> str:
        if self._state != "live":
            return f"source {self._state or 'starting'}"
        age_s = None if self._result_s is None else self._clock.monotonic() - self._result_s
        return "" if age_s is not None and age_s < FRESH_S else "no result"

    def _details(self) -> Mapping[str, Any]:
        details: dict[str, Any] = {
            "source": self._state,
            "models": self._slot.engines.told.models,
            "provider": self._slot.engines.told.providers,
            "notice_given": self._notice.given,
        }
        if self._courier is not None:
            details["mqtt"] = self._courier.state
        return details

    def _scene(self, result: Result) -> Scene:
        decisions = self._teller.decisions
        needed = not self._notice.given and self._config.models.reads_faces
        return Scene(
            state=self._state,
            people=len(result.faces),
            action=decisions.scene_label or "",
            emotions=decisions.face_labels,
            notice=self._config.privacy.notice if needed else "",
        )

    def _show_models(self) -> None:
        engines = self._slot.engines.told
        self._metrics.show_models(product_version(), engines.models, engines.providers)


def enter_window(stack: ExitStack, desk: Desk, clock: Clock) -> Callable[[], None]:
    """Open the full-screen window. Raises ProviderError where there is no display."""
    from edgeharfer.kiosk.window import KioskWindow

    return stack.enter_context(KioskWindow(desk, clock)).turn


def _over(stopping: Callable[[], bool], duration_s: float | None, clock: Clock) -> Callable[[], bool]:
    end_s = None if duration_s is None else clock.monotonic() + duration_s
    return lambda: stopping() or (end_s is not None and clock.monotonic() >= end_s)

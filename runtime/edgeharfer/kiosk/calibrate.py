"""Watch an idle site for a while and keep what follows from it."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.kiosk.calibration import SiteCalibration, learn_floors, save_calibration
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.models import load_pipeline, select_models
from edgeharfer.kiosk.privacy import check_purpose, hide_zones
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import RunLimits, Runner
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


def calibrate_site(
    config: KioskConfig, state: Path, *, seconds: float, source: str | None = None, clock: Clock | None = None
) -> SiteCalibration:
    """Learn the floors from idle footage and keep them; no picture is stored.

    Raises CameraError or SourceError without footage, ConfigError where there is too little.
    """
    check_purpose(config)
    clock = clock or SystemClock()
    zones, results = config.privacy.ignore_zones, _Results()
    redirects = config.source.follow_redirects
    with (
        load_pipeline(config, select_models(config, state), clock) as pipeline,
        open_source(source or config.source.spec, clock=clock, follow_redirects=redirects) as footage,
        Capture(footage, pace="fast", clock=clock) as capture,
    ):
        Runner(
            pipeline,
            capture,
            [results],
            RunLimits(duration_s=seconds),
            clock=clock,
            prepare=lambda frame: hide_zones(frame, zones),
        ).run()
    calibration = learn_floors(results.seen, config.decisions)
    save_calibration(calibration, state)
    return calibration


class _Results(Sink):
    """Keeps the results."""

    def __init__(self) -> None:
        self.seen: list[Result] = []

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.seen.append(result)


def summarize(calibration: SiteCalibration) -> str:
    """The outcome in words."""
    raised = [
        f"{label} {floor:.2f}" for labels in calibration.floors.values() for label, floor in labels.items()
    ]
    return (
        f"{calibration.seconds:.0f} s of idle footage: {calibration.alarms_before:.0f} false alarms an hour before, "
        f"{calibration.alarms_after:.0f} after\nleast scores: {', '.join(raised) or 'none to raise'}"
    )

"""Site calibration: run on idle footage, and save the score floors derived from it."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.kiosk.calibration import SiteCalibration, learn_floors, save_calibration
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.models import load_pipeline, select_models
from edgeharfer.kiosk.privacy import check_purpose, hide_zones
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.progress import Advance, step
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


def calibrate_site(
    config: KioskConfig, state: Path, *, seconds: float, source: str | None = None, clock: Clock | None = None
) -> SiteCalibration:
    """Derive the score floors from idle footage, and save them. No picture is stored.

    Args:
        config: The kiosk's configuration.
        state: The state folder.
        seconds: Length of the footage.
        source: Footage in place of the configured source.
        clock: The clock.

    Raises:
        SourceError: The source cannot be read.
        ConfigError: There is too little footage.
        ModelError: A package cannot be used.
        SinkError: The state folder cannot be written.
    """
    check_purpose(config)
    clock = clock or SystemClock()
    zones = config.privacy.ignore_zones
    opening = config.source
    with (
        step("watching the site", seconds) as advance,
        load_pipeline(config, select_models(config, state), clock) as pipeline,
        open_source(
            source or opening.spec,
            follow_redirects=opening.follow_redirects,
            decode=opening.decode,
            clock=clock,
        ) as footage,
        Capture(footage, pace="fast", clock=clock) as capture,
    ):
        results = _Results(advance)
        watched = RunInput(pipeline, capture, prepare=lambda frame: hide_zones(frame, zones))
        Runner([watched], [results], RunLimits(duration_s=seconds), clock=clock).run()
    calibration = learn_floors(results.seen, config.decisions)
    save_calibration(calibration, state)
    return calibration


class _Results(Sink):
    """Collects the results, and reports their time as progress."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.seen: list[Result] = []

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._advance(result.pts_s - self.seen[-1].pts_s if self.seen else result.pts_s)
        self.seen.append(result)


def summarize(calibration: SiteCalibration, min_score: float) -> str:
    """The outcome as text for the terminal; floors up to the general minimum score change nothing."""
    raised = [
        f"{label} {floor:.3g}"
        for labels in calibration.floors.values()
        for label, floor in labels.items()
        if floor > min_score
    ]
    lines = [
        f"{calibration.seconds:.0f} s of idle footage: {calibration.alarms_before:.0f} false alarms per hour "
        f"before, {calibration.alarms_after:.0f} after",
        f"minimum scores: {', '.join(raised) or 'unchanged'}",
    ]
    if calibration.remaining:
        labels = ", ".join(calibration.remaining)
        lines.append(f"still reported: {labels}; hide what causes it with privacy.ignore_zones")
    return "\n".join(lines)

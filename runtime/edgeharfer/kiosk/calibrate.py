"""Watch an idle site for a while and keep what follows from it."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.kiosk.calibration import Calibration, learn, save
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.privacy import check_purpose, hide_zones
from edgeharfer.kiosk.slot import wanted_lineup
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks import make_tasks
from edgeharfer.runtime.types import Frame, Result


def calibrate_site(
    config: KioskConfig, state: Path, *, seconds: float, source: str | None = None, clock: Clock | None = None
) -> Calibration:
    """Learn the floors from idle footage and keep them; no picture is stored.

    Raises CameraError or SourceError without footage, ConfigError where there is too little.
    """
    check_purpose(config)
    clock = clock or SystemClock()
    lineup, models = wanted_lineup(config, state), config.models
    pipeline = Pipeline(
        action=lineup.action,
        emotion=lineup.emotion,
        detector=models.detector,
        backend=models.backend,
        extra_tasks=make_tasks(models.tasks, models.backend, require_signature=models.signature_key),
        clock=clock,
    )
    pipeline.warm_up()
    found = learn(_watch(config, pipeline, source or config.source.spec, seconds, clock), config.decisions)
    save(found, state)
    return found


def describe(found: Calibration) -> str:
    """The outcome in words."""
    raised = [f"{label} {floor:.2f}" for labels in found.floors.values() for label, floor in labels.items()]
    return (
        f"{found.seconds:.0f} s of idle footage: {found.alarms_before:.0f} false alarms an hour before, "
        f"{found.alarms_after:.0f} after\nleast scores: {', '.join(raised) or 'none to raise'}"
    )


def _watch(config: KioskConfig, pipeline: Pipeline, spec: str, seconds: float, clock: Clock) -> list[Result]:
    results: list[Result] = []
    with open_source(spec, clock=clock, follow_redirects=config.source.follow_redirects) as source:
        while (frame := source.read()) is not None and frame.pts_s < seconds:
            hidden = hide_zones(frame.bgr, config.privacy.ignore_zones)
            shown = Frame(frame.seq, frame.pts_s, frame.captured_s, hidden, frame.still)
            results.append(pipeline.process(shown))
    return results

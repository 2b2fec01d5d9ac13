"""What a site's idle footage taught: the least score of each label, so that the idle site tells nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgeharfer.kiosk.config import DecisionConfig
from edgeharfer.kiosk.decisions import NOTHING, Decisions
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import read_regular
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.staging import cannot_write, give_to_folder_owner, write_durable
from edgeharfer.runtime.strict_json import load_json, mapping_of, number
from edgeharfer.runtime.tasks import PACKAGE_TASKS

FILE = "calibration.json"
QUANTILE = 0.99
MARGIN = 0.05
HIGHEST = 0.95
"""A label that is so sure of itself on an idle site could never be told otherwise."""
REST = frozenset({"neutral"})
"""Emotions that are no alarm: what a face at rest should be."""
HOUR_S = 3600.0

Floors = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """floors: kind -> label -> least score. Alarms: decisions an hour on idle footage, those of the half
    that was not learned from, without and with the floors."""

    seconds: float
    floors: Floors
    alarms_before: float
    alarms_after: float


def learn(results: Sequence[Result], rules: DecisionConfig) -> SiteCalibration:
    """Floors from the first half of idle results; what they change is measured on the second half.

    Raises ConfigError where there are too few.
    """
    half = len(results) // 2
    if half < 2 or results[-1].pts_s <= results[0].pts_s:
        raise ConfigError("calibration: too little footage; let the camera watch the idle site for a minute")
    floors = {kind: _floors(scores) for kind, scores in _scores(results[:half]).items()}
    rest = results[half:]
    return SiteCalibration(
        seconds=results[-1].pts_s - results[0].pts_s,
        floors=floors,
        alarms_before=alarms_per_hour(rest, Decisions(rules)),
        alarms_after=alarms_per_hour(rest, Decisions(rules, floors)),
    )


def alarms_per_hour(results: Sequence[Result], decisions: Decisions) -> float:
    """Decisions that an idle site starts, other than that a face is at rest."""
    events = [event for result in results for event in decisions.take(result)]
    alarms = [event for event in events if event.phase == "start" and event.label not in REST]
    return len(alarms) * HOUR_S / max(1e-9, results[-1].pts_s - results[0].pts_s)


def save(calibration: SiteCalibration, state: Path) -> None:
    """Keep it for the service. Raises SinkError."""
    path = state / FILE
    try:
        state.mkdir(parents=True, exist_ok=True)
        write_durable(path, json.dumps(asdict(calibration), indent=1).encode("ascii"))
        give_to_folder_owner(path, state)
    except OSError as error:
        raise cannot_write(path, error) from error


def load_floors(state: Path) -> Floors:
    """The floors of the last calibration, none where there was none. Raises ModelError for a damaged file."""
    path = state / FILE
    if not path.exists():
        return {}
    loaded = load_json(read_regular(path, 1 << 20), str(path))
    floors = loaded.get("floors", {}) if isinstance(loaded, dict) else {}
    checked: dict[str, Mapping[str, float]] = {}
    for kind, labels in floors.items() if isinstance(floors, dict) else ():
        known = tuple(labels) if isinstance(labels, dict) else ()
        checked[kind] = mapping_of(known, number(0, 1))(labels, f"{path}: floors.{kind}")
    return checked


def _scores(results: Sequence[Result]) -> dict[str, list[Mapping[str, float]]]:
    """The probabilities of each task, of the scene and of faces; default tasks are always there."""
    scores: dict[str, list[Mapping[str, float]]] = {task: [] for task in PACKAGE_TASKS}
    for result in results:
        for readings in (result.readings, *(face.readings for face in result.faces)):
            for task, reading in readings.items():
                if reading.ready and reading.probs:
                    scores.setdefault(task, []).append(reading.probs)
    return scores


def _floors(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """A little above what each label reaches while nothing happens."""
    if not scores:
        return {}
    labels = scores[0].keys() - NOTHING - REST
    reached = {label: float(np.quantile([probs[label] for probs in scores], QUANTILE)) for label in labels}
    return {label: round(min(HIGHEST, value + MARGIN), 4) for label, value in sorted(reached.items())}

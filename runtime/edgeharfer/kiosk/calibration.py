"""Score floors of a site: a minimum score per label, chosen so that an idle site causes no decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgeharfer.kiosk.config import DecisionConfig
from edgeharfer.kiosk.decisions import NO_DECISION, Decisions
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.staging import cannot_write, give_to_folder_owner, write_durable
from edgeharfer.runtime.strict_json import load_json, mapping_of, number
from edgeharfer.runtime.tasks import PACKAGE_TASKS

FILE = "calibration.json"
QUANTILE = 0.99
MARGIN = 0.05
"""How far a floor is above the scores of the idle site; half of the way to 1 if that is less."""
MAX_FLOOR = 0.995
"""Upper bound of a floor, so that no label is disabled completely."""
REST_LABELS = frozenset({"neutral"})
"""Labels that are expected at an idle site and do not count as false alarms."""
HOUR_S = 3600.0

Floors = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """The outcome of a calibration.

    Attributes:
        seconds: Length of the footage.
        floors: Task -> label -> minimum score, 0 to 1.
        alarms_before: Decisions per hour without the floors, on the half that was not used to derive them.
        alarms_after: The same with the floors.
        remaining: Labels of the decisions that the floors do not prevent.
    """

    seconds: float
    floors: Floors
    alarms_before: float
    alarms_after: float
    remaining: tuple[str, ...]


def learn_floors(results: Sequence[Result], rules: DecisionConfig) -> SiteCalibration:
    """Derive floors from the first half of idle results, and measure their effect on the second half.

    Raises:
        ConfigError: There are too few results.
    """
    half = len(results) // 2
    if half < 2 or results[-1].pts_s <= results[0].pts_s:
        raise ConfigError("calibration: too little footage; record the idle site for at least a minute")
    floors = {kind: _floors(scores) for kind, scores in _scores(results[:half]).items()}
    rest = results[half:]
    hours = max(1e-9, rest[-1].pts_s - rest[0].pts_s) / HOUR_S
    before, after = (false_alarms(rest, Decisions(rules, chosen)) for chosen in ({}, floors))
    return SiteCalibration(
        seconds=results[-1].pts_s - results[0].pts_s,
        floors=floors,
        alarms_before=len(before) / hours,
        alarms_after=len(after) / hours,
        remaining=tuple(sorted(set(after))),
    )


def false_alarms(results: Sequence[Result], decisions: Decisions) -> list[str]:
    """Labels of the decisions on idle footage, without `REST_LABELS`."""
    events = [event for result in results for event in decisions.update(result)]
    return [event.label for event in events if event.phase == "start" and event.label not in REST_LABELS]


def save_calibration(calibration: SiteCalibration, state: Path) -> None:
    """Save a calibration to the state folder of the service.

    Raises:
        SinkError: The folder cannot be written.
    """
    path = state / FILE
    try:
        state.mkdir(parents=True, exist_ok=True)
        write_durable(path, json.dumps(asdict(calibration), indent=1).encode("ascii"))
        give_to_folder_owner(path, state)
    except OSError as error:
        raise cannot_write(path, error) from error


def load_floors(state: Path) -> Floors:
    """Load the floors of the last calibration; empty without one.

    Raises:
        ModelError: The file is damaged.
    """
    path = state / FILE
    if not path.exists():
        return {}
    loaded = load_json(read_regular_file(path, 1 << 20), str(path))
    floors = loaded.get("floors", {}) if isinstance(loaded, dict) else {}
    checked: dict[str, Mapping[str, float]] = {}
    for kind, labels in floors.items() if isinstance(floors, dict) else ():
        known = tuple(labels) if isinstance(labels, dict) else ()
        checked[kind] = mapping_of(known, number(0, 1))(labels, f"{path}: floors.{kind}")
    return checked


def _scores(results: Sequence[Result]) -> dict[str, list[Mapping[str, float]]]:
    """The probabilities of each task, for scene and faces; the default tasks are always included."""
    scores: dict[str, list[Mapping[str, float]]] = {task: [] for task in PACKAGE_TASKS}
    for result in results:
        for readings in (result.readings, *(face.readings for face in result.faces)):
            for task, reading in readings.items():
                if reading.ready and reading.probs:
                    scores.setdefault(task, []).append(reading.probs)
    return scores


def _floors(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`MARGIN` above the `QUANTILE` of each label's score, or half of the way to 1, at most `MAX_FLOOR`."""
    if not scores:
        return {}
    labels = scores[0].keys() - NO_DECISION - REST_LABELS
    reached = {label: float(np.quantile([probs[label] for probs in scores], QUANTILE)) for label in labels}
    return {
        label: round(min(value + MARGIN, (1 + value) / 2, MAX_FLOOR), 4)
        for label, value in sorted(reached.items())
    }

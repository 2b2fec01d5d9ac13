"""`summary.json`: the figures of a report for programs and the resume entry for later runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeharfer.report.report import Report
from edgeharfer.report.segments import seconds_by_label
from edgeharfer.report.statistics import PersonStatistics, Statistics
from edgeharfer.runtime.versions import product_version

FORMAT = 2
SUMMARY = "summary.json"
_DIGITS = 4


def summary_to_dict(report: Report, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The summary as JSON-serialisable values.

    Args:
        report: The report.
        extra: Further top-level entries.

    Returns:
        The summary. Times are in seconds, shares between 0 and 1.
    """
    summary: dict[str, Any] = {
        "format": FORMAT,
        "edgeharfer": product_version(),
        "input": _input(report),
        "method": _method(report),
        "group": _measures(report.group),
        "persons": [_person(person, report.recording.step_s) for person in report.persons],
    }
    if report.only is None:
        summary["actions"] = _actions(report)
    return {**summary, **(extra or {})}


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write the summary to a file."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _input(report: Report) -> dict[str, Any]:
    source, recording = report.source, report.recording
    return {
        "name": source.name,
        "kind": "pictures" if report.stills else "video",
        "width": source.size[0],
        "height": source.size[1],
        "fps": source.fps and round(source.fps, _DIGITS),
        "duration_s": recording.duration_s,
        "frames": recording.frames,
        "samples": len(recording.samples),
        "cuts_s": list(recording.cuts_s),
        "unreadable": source.unreadable,
        "skipped": [{"name": name, "why": why} for name, why in source.skipped],
    }


def _method(report: Report) -> dict[str, Any]:
    method = report.method
    return {
        "fps": method.fps,
        "sample_s": round(report.recording.step_s, 6),
        "smoothing": asdict(report.smoothing),
        "detector": method.detector,
        "prior": method.prior,
        "models": {task: _model(model) for task, model in method.models.items()},
        "providers": dict(method.providers),
    }


def _model(model: Any) -> dict[str, Any]:
    facts = {key: getattr(model, key) for key in ("name", "precision", "threshold", "sha256")}
    return {**facts, "files": dict(model.files)}


def _measures(measures: Statistics) -> dict[str, Any]:
    return {
        "sightings": measures.sightings,
        "coverage": round(measures.coverage, _DIGITS),
        "confidence": round(measures.confidence, _DIGITS),
        "strength": None if measures.strength is None else round(measures.strength, _DIGITS),
        "shares": round_values(measures.shares),
        "mean_raw": round_values(measures.mean_raw),
        "transitions": [
            {"from": before, "to": after, "count": count}
            for (before, after), count in measures.transitions.items()
        ],
    }


def _person(person: PersonStatistics, step_s: float) -> dict[str, Any]:
    return {
        "track": person.track,
        "first_s": person.first_s,
        "last_s": person.last_s,
        "seen_s": round(len(person.rows) * step_s, _DIGITS),
        **_measures(person.measures),
    }


def _actions(report: Report) -> dict[str, Any]:
    return {
        "seconds": round_values(seconds_by_label(report.segments)),
        "segments": [asdict(segment) for segment in report.segments],
    }


def round_values(values: Mapping[str, float]) -> dict[str, float]:
    """Round each value to the precision of `summary.json`."""
    return {key: round(value, _DIGITS) for key, value in values.items()}

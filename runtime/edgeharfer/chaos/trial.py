"""Inject faults in sequence, each into a new run, and format their outcomes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeharfer.chaos.fault import (
    BUSY,
    FPS,
    Fault,
    FaultEnvironment,
    FaultNotApplicable,
    Outcome,
    demo_pictures,
)
from edgeharfer.chaos.process_faults import PROCESS_FAULTS
from edgeharfer.chaos.server import MjpegServer
from edgeharfer.chaos.source_faults import SOURCE_FAULTS
from edgeharfer.chaos.supervised import RecoveryError, RecoveryTimeout

FAULTS: tuple[Fault, ...] = (*SOURCE_FAULTS, *PROCESS_FAULTS)
WIDTH, HEIGHT = 640, 480
TOO_BUSY = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


def run_faults(faults: Sequence[Fault], options: Sequence[str] = ()) -> Iterator[Outcome]:
    """Inject each fault into a new `edgeharfer run` with these options and yield its outcome."""
    pictures = demo_pictures(WIDTH, HEIGHT)
    for fault in faults:
        with (
            tempfile.TemporaryDirectory(prefix="edgeharfer-chaos-") as folder,
            MjpegServer(lambda number: pictures[number % len(pictures)], FPS) as server,
        ):
            yield run_fault(fault, FaultEnvironment(Path(folder), server, options))


def run_fault(fault: Fault, env: FaultEnvironment) -> Outcome:
    """Inject one fault and compare its recovery time with the limit.

    A late recovery counts as a failure only if the machine was not busy before and after the fault.
    """
    about = fault.name, fault.what, fault.limit_s
    before = env.slowdown()
    recovery_s = None
    try:
        recovery_s = fault.inject(env)
    except FaultNotApplicable as why:
        return Outcome(*about, "not tried", note=str(why))
    except RecoveryTimeout as why:
        note = str(why)
    except RecoveryError as why:
        return Outcome(*about, "fail", note=str(why))
    else:
        if recovery_s <= fault.limit_s:
            return Outcome(*about, "pass", recovery_s, slowdown=before)
        note = "too late"
    slower = max(before, env.slowdown())
    if slower < BUSY:
        return Outcome(*about, "fail", recovery_s, note, slower)
    note += f", but work took {slower:.1f} times as long as on an idle machine"
    return Outcome(*about, "too busy", recovery_s, note, slower)


def table_header() -> str:
    """The header of the table."""
    return f"{'fault':14} {'description':52} {'recovery':>9} {'limit':>7}  result"


def line(outcome: Outcome) -> str:
    """A row of the table."""
    time = "–" if outcome.recovery_s is None else f"{outcome.recovery_s:.2f} s"
    result = f"{outcome.result}: {outcome.note}" if outcome.note else outcome.result
    return f"{outcome.name:14} {outcome.what:52} {time:>9} {outcome.limit_s:5.1f} s  {result}"


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All outcomes as JSON-serialisable values."""
    rows = [asdict(outcome) for outcome in outcomes]
    for row in rows:
        row["recovery_s"] = None if row["recovery_s"] is None else round(row["recovery_s"], 3)
        row["slowdown"] = round(row["slowdown"], 1)
    results = {outcome.result for outcome in outcomes}
    return {
        "passed": results.isdisjoint({"fail", "too busy"}),
        "too_busy": "too busy" in results,
        "faults": rows,
    }


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 if a fault failed, TOO_BUSY if the machine was too busy to judge one, else 0."""
    results = {outcome.result for outcome in outcomes}
    return 1 if "fail" in results else TOO_BUSY if "too busy" in results else 0

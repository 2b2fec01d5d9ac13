"""`edgeharfer chaos`: the faults that it does, told right when the product recovers and when it does not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from click.testing import CliRunner

from edgeharfer.chaos import process_faults
from edgeharfer.chaos.fault import Fault, FaultEnvironment, FaultNotApplicable, slowdown
from edgeharfer.chaos.source_faults import freeze
from edgeharfer.chaos.supervised import RecoveryError, RecoveryTimeout, WatchedRun
from edgeharfer.chaos.trial import FAULTS, exit_code, line, report, run_fault, run_faults
from edgeharfer.cli.chaos import chaos, run_options
from edgeharfer.runtime.clock import ManualClock
from mjpeg_server import MjpegServer, allowed_s

if TYPE_CHECKING:
    from typing_extensions import Self

LIGHT = ["--action", "off", "--emotion", "off"]


def named(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault.name == name)


@pytest.mark.parametrize(
    "name", ["drop", pytest.param("full-disk", marks=pytest.mark.needs("leave to mount a file system"))]
)
def test_the_product_recovers(name: str) -> None:
    fault = named(name)
    (outcome,) = run_faults([replace(fault, limit_s=allowed_s(fault.limit_s))], LIGHT)
    assert outcome.result == "pass", line(outcome)


@pytest.mark.soak
@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_all_of_them_with_all_models(name: str) -> None:
    fault = named(name)
    (outcome,) = run_faults([replace(fault, limit_s=allowed_s(fault.limit_s))])
    assert outcome.result == "pass", line(outcome)


@pytest.fixture
def site(tmp_path: Path) -> FaultEnvironment:
    return FaultEnvironment(tmp_path, MjpegServer(), LIGHT, slowdown=lambda: 1.0)


def raising(error: Exception) -> Fault:
    def inject(site: FaultEnvironment) -> float:
        raise error

    return Fault("x", "something", 1.0, inject)


def test_each_outcome_has_its_word(site: FaultEnvironment) -> None:
    outcomes = [
        run_fault(Fault("fine", "something", 1.0, lambda _: 0.5), site),
        run_fault(Fault("late", "something", 1.0, lambda _: 1.5), site),
        run_fault(raising(RecoveryError("no result within 30 s")), site),
        run_fault(raising(FaultNotApplicable("there is no disk")), site),
    ]
    assert [outcome.result for outcome in outcomes] == ["pass", "fail", "fail", "not tried"]
    assert [line(outcome).split("  ")[-1] for outcome in outcomes] == [
        "pass", "fail: too late", "fail: no result within 30 s", "not tried: there is no disk",
    ]  # fmt: skip
    assert not report(outcomes)["passed"]
    assert report([outcomes[0], outcomes[3]])["passed"]
    assert [row["recovery_s"] for row in report(outcomes)["faults"]] == [0.5, 1.5, None, None]


def test_a_busy_machine_is_no_broken_product(tmp_path: Path) -> None:
    load = iter([1.0, 9.5] * 5)
    site = FaultEnvironment(tmp_path, MjpegServer(), LIGHT, slowdown=lambda: next(load))
    outcomes = [
        run_fault(Fault("late", "something", 1.0, lambda _: 1.5), site),
        run_fault(raising(RecoveryTimeout("no state 'lost' within 10 s")), site),
    ]
    assert [outcome.result for outcome in outcomes] == ["too busy", "too busy"]
    assert line(outcomes[0]).endswith(
        "1.50 s   1.0 s  too busy: too late, but work took 9.5 times as long as on an idle machine"
    )
    assert (report(outcomes)["passed"], report(outcomes)["too_busy"], exit_code(outcomes)) == (
        False,
        True,
        75,
    )


def test_a_busy_machine_excuses_no_defect_and_hides_no_recovery(tmp_path: Path) -> None:
    site = FaultEnvironment(tmp_path, MjpegServer(), LIGHT, slowdown=lambda: 9.5)
    outcomes = [
        run_fault(Fault("fine", "something", 1.0, lambda _: 0.5), site),
        run_fault(raising(RecoveryError("events written before are lost")), site),
        run_fault(Fault("late", "something", 1.0, lambda _: 1.5), site),
    ]
    assert [outcome.result for outcome in outcomes] == ["pass", "fail", "too busy"]
    assert [exit_code(outcomes[:count]) for count in (1, 2, 3)] == [0, 1, 1]


def test_the_slowdown_is_wall_time_over_processor_time() -> None:
    clock = ManualClock()

    def one_of_ten(step_s: float = 0.01) -> float:
        clock.sleep(step_s)
        return clock.monotonic() / 10

    assert slowdown(clock, one_of_ten) == pytest.approx(10, rel=0.1)
    idle = ManualClock()
    assert slowdown(idle, lambda: one_of_one(idle)) == pytest.approx(1, rel=0.1)
    assert slowdown(ManualClock(), iter([0.0, 0.3]).__next__) == 1.0, "never below 1"


def one_of_one(clock: ManualClock) -> float:
    clock.sleep(0.01)
    return clock.monotonic()


class FrozenRun:
    """A slow run whose source is frozen: two results a second still come after the change of state."""

    interval_s = 0.5

    def __init__(self, coming: int) -> None:
        self.clock = ManualClock()
        self._results, self._coming = 8, coming

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait_for_state(self, state: str, patience_s: float) -> float:
        return 4.0

    def wait_for_result(self) -> float:
        return 0.1

    def count(self, kind: str) -> int:
        return self._results

    def wait_for(self, condition: Callable[[], bool], what: str, patience_s: float) -> float:
        while not condition():
            self.clock.sleep(self.interval_s)
            if self._coming:
                self._coming, self._results = self._coming - 1, self._results + 1
        return self.clock.monotonic()


def frozen_site(coming: int) -> FaultEnvironment:
    return cast(
        FaultEnvironment, SimpleNamespace(server=SimpleNamespace(frozen=False), run=lambda: FrozenRun(coming))
    )


def test_results_of_pictures_from_before_a_freeze_may_still_come_and_no_others() -> None:
    assert freeze(frozen_site(0)) == freeze(frozen_site(2)) == 0.1
    with pytest.raises(RecoveryError, match="there were results for a frozen frame"):
        freeze(frozen_site(3))


def test_a_product_that_dies_is_told_with_its_last_words(site: FaultEnvironment) -> None:
    site.server.serve()
    try:
        run = site.run(prelude="import sys; print('no luck', file=sys.stderr); sys.exit(7)\n")
        with pytest.raises(RecoveryError, match="ended with exit code 7: no luck"):
            run.start()
    finally:
        site.server.stop_serving()


def test_where_nobody_may_mount_the_disk_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(FaultNotApplicable, match="try as root"):
        process_faults.small_disk(tmp_path)


def test_the_command_writes_its_table_and_its_json(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.json"
    words = ["--only", "flipped-bit", "--json", str(file), *LIGHT]
    done = CliRunner().invoke(chaos, words)
    told = json.loads(file.read_text())
    assert (done.exit_code, told["passed"]) == (0, True), done.output
    assert [row["name"] for row in told["faults"]] == ["flipped-bit"]
    assert "one bit of a model has changed" in done.output


def test_an_unknown_fault_is_named() -> None:
    done = CliRunner().invoke(chaos, ["--only", "drop,earthquake"])
    assert done.exit_code == 2
    assert "unknown fault 'earthquake'; choose from drop, stall," in done.output


def test_the_models_that_were_asked_for_are_the_ones_that_run() -> None:
    options = dict.fromkeys(("detector", "prior", "precision", "threads"))
    options |= {"action": "off", "emotion": "emotion-fer7", "provider": "cpu", "allow_fallback": True}
    assert run_options(options) == [
        "--action", "off", "--emotion", "emotion-fer7", "--provider", "cpu", "--allow-fallback",
    ]  # fmt: skip


def test_a_state_that_only_the_log_tells_counts(tmp_path: Path) -> None:
    """It lasted for a fraction of a second, and a busy run did not look in that time."""
    run = WatchedRun("demo", tmp_path / "events.jsonl")
    log = tmp_path / "events.err"
    log.write_text("demo: stalled: no frame for 1.6 s\n")
    run.wait_for = lambda condition, *_: float(condition())  # type: ignore[method-assign]
    assert run.wait_for_state("lost") == 0.0
    told = iter(["", "demo: lost: the connection ended\n"])
    run.wait_for = lambda condition, *_: (log.write_text(next(told)), float(condition()))[1]  # type: ignore[method-assign]
    assert (run.wait_for_state("lost"), run.wait_for_state("lost")) == (0.0, 1.0)


def test_a_run_that_was_not_started_has_no_process(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        _ = WatchedRun("demo", tmp_path / "events.jsonl").process

"""Choices kept for this device: taken where nothing was asked for, and only while they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_patterns
from edgeharfer.benchmark.measure import Timing
from edgeharfer.benchmark.tune import TuningResult, best_per_provider, comparable_ms, thread_counts
from edgeharfer.cli import run_command
from edgeharfer.runtime.inference import providers, tuning
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.tuning import (
    package_key,
    record_path,
    resolve_backend,
    tuned_backends,
    write_record,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "cache_root", lambda: tmp_path / "cache" / "engines")
    tuning._record.cache_clear()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return tiny_patterns.picture_package(tmp_path / "package")


def only(record: Any) -> Any:
    """The entry of the only package in a record."""
    (package,) = record["packages"].values()
    return package


def test_without_a_record_the_manifest_decides(package: Package) -> None:
    assert resolve_backend(package) == Backend("auto", "fp32", 1)
    assert resolve_backend(package, Backend("cpu", "fp32", 3)) == Backend("cpu", "fp32", 3)


def test_a_record_fills_what_was_left_open(package: Package) -> None:
    write_record({package_key(package): [Backend("cpu", "fp32", 2)]})
    assert resolve_backend(package) == Backend("cpu", "fp32", 2)
    assert resolve_backend(package, Backend(threads=1)) == Backend("cpu", "fp32", 1)


def test_a_precision_that_the_package_lost_is_not_taken(package: Package) -> None:
    write_record({package_key(package): [Backend("cpu", "int8", 2)]})
    assert resolve_backend(package).precision == "fp32"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["device"].update(processor="another"),
        lambda record: record.update(format=1),
        lambda record: record.update(packages=[]),
        lambda record: only(record)["backends"][0].update(threads=0),
        lambda record: only(record)["backends"][0].update(provider="quantum"),
        lambda record: only(record).update(graphs=[]),
        lambda record: only(record).update(graphs={"fp32": {"model": "quantum"}}),
        lambda record: only(record).update(graphs={"fp32": ["cpu"]}),
        lambda record: record["device"].update(plugins={"openvino": "0.1"}),
    ],
)
def test_a_record_of_something_else_is_left_alone(package: Package, change: Any) -> None:
    path = write_record({package_key(package): [Backend("cpu", "fp32", 2)]})
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert tuned_backends(package) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": NaN}'])
def test_a_broken_record_is_left_alone(package: Package, content: bytes) -> None:
    record_path().parent.mkdir(parents=True)
    record_path().write_bytes(content)
    assert resolve_backend(package) == Backend("auto", "fp32", 1)


def test_more_threads_must_be_worth_it() -> None:
    one, two = TuningResult(Backend("cpu", "int8", 1), 1.0), TuningResult(Backend("cpu", "int8", 2), 0.9)
    assert best_per_provider([two, one]) == [one]
    assert best_per_provider([one, TuningResult(Backend("cpu", "int8", 2), 0.8)])[0].backend.threads == 2


def test_the_quickest_provider_comes_first() -> None:
    slow, quick = TuningResult(Backend("cpu", "fp32", 1), 2.0), TuningResult(Backend("cuda", "fp16", 1), 1.0)
    assert best_per_provider([slow, quick]) == [quick, slow]


def timing(wall_ms: Any, cpu_ms: float) -> Timing:
    return Timing(np.asarray(wall_ms, np.float64), np.full(len(wall_ms), cpu_ms))


def test_what_computes_on_the_cpu_is_compared_by_processor_time() -> None:
    """Other programs held up the faster one."""
    slow, quick = Backend("cpu", "fp32", 1), Backend("cpu", "int8", 1)
    times = comparable_ms({slow: timing([2.0] * 9, 2.0), quick: timing([30.0] * 9, 1.0)})
    assert times == {slow: 2.0, quick: 1.0}


def test_threads_count_by_the_speed_up_in_the_same_rounds() -> None:
    load = np.array([1.0, 1.0, 7.0, 7.0, 1.0])
    one, two = Backend("cpu", "fp32", 1), Backend("cpu", "fp32", 2)
    times = comparable_ms({one: timing(2.0 * load, 2.0), two: timing(1.2 * load, 2.4)})
    assert times == {one: 2.0, two: pytest.approx(1.2)}


def test_other_devices_are_compared_by_wall_time() -> None:
    gpu = Backend("cuda", "fp16", 1)
    assert comparable_ms({gpu: timing([3.0] * 5, 0.1)}) == {gpu: 3.0}


def test_a_busy_machine_tunes_one_thread_and_says_so(
    package: Package, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeharfer.benchmark.machine.load_average", lambda: 500.0)
    assert run_command(["tune", str(package.path), "--runs", "10", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "busy, so only one thread is measured" in printed
    assert "2 threads" not in printed


def test_thread_counts_end_at_the_cores() -> None:
    assert [thread_counts(cores) for cores in (1, 2, 6)] == [[1], [1, 2], [1, 2, 4]]


def test_the_command_measures_and_keeps(
    package: Package, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "available_providers", lambda: ("cpu",))
    assert run_command(["tune", str(package.path), "--runs", "10", "--dry-run"]) == 0
    assert not record_path().exists()
    assert run_command(["tune", str(package.path), "--runs", "10"]) == 0
    assert "saved to" in capsys.readouterr().out
    found = tuned_backends(package)
    assert set(found) == {"cpu"}
    assert resolve_backend(package) == found["cpu"]

"""Choices kept for this device: taken where nothing was asked for, and only while they hold."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_patterns
from edgeharfer.benchmark import tune
from edgeharfer.benchmark.measure import Timing
from edgeharfer.benchmark.rows import OURS, Candidate
from edgeharfer.benchmark.tune import (
    TuningResult,
    best_per_provider,
    choose_graphs,
    comparable_ms,
    differing_providers,
    thread_counts,
)
from edgeharfer.cli import run_command
from edgeharfer.runtime.inference import providers, tuning
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.tuning import (
    graph_backend,
    open_graph,
    package_key,
    record_path,
    resolve_backend,
    tuned_backends,
    tuned_graphs,
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
        lambda record: only(record).update(graphs={}),
        lambda record: only(record)["graphs"][0].update(providers={"model": "quantum"}),
        lambda record: only(record)["graphs"][0].update(providers=["cpu"]),
        lambda record: only(record)["graphs"][0].update(threads="1"),
        lambda record: only(record)["graphs"][0].pop("threads"),
        lambda record: record["device"].update(plugins={"openvino": "0.1"}),
    ],
)
def test_a_record_of_something_else_is_left_alone(package: Package, change: Any) -> None:
    key = package_key(package)
    path = write_record({key: [Backend("cpu", "fp32", 2)]}, graphs={key: {("fp32", 2): {"model": "cpu"}}})
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert tuned_backends(package) == {}


def test_a_record_in_an_older_format_must_be_measured_again(
    package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_record({package_key(package): [Backend("cpu", "fp32", 2)]})
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    for _ in range(2):
        assert resolve_backend(package) == Backend("auto", "fp32", 1)
    assert caplog.messages == [f"{path} is of another version of edgeharfer: run `edgeharfer tune` again"]


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


def test_providers_are_compared_in_the_same_rounds() -> None:
    """The medians alone would prefer the second one, which takes a quarter longer in each round."""
    load = np.array([1.0, 3.0, 1.0, 3.0, 3.0])
    plain, plugin = Backend("cpu", "fp32", 1), Backend("openvino", "fp32", 1)
    samples = {plain: 2.0 * load, plugin: 2.5 * load}
    samples[plugin][-1] = 2.5
    times = comparable_ms({one: Timing(ms, ms) for one, ms in samples.items()})
    assert np.median(samples[plugin]) < np.median(samples[plain])
    assert times[plugin] == pytest.approx(1.25 * times[plain])


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


def results(precision: str, threads: int, **times: float) -> list[TuningResult]:
    """A provider beats the CPU provider if its time is less."""
    return [
        TuningResult(Backend(name, precision, threads), value, value < times["cpu"])
        for name, value in times.items()
    ]


def test_each_graph_gets_the_provider_that_is_fastest_for_it() -> None:
    graphs = {
        "encoder": [*results("fp32", 1, cpu=6.0, openvino=5.0), *results("int8", 1, cpu=3.0, openvino=2.5)],
        "head": [*results("fp32", 1, cpu=0.1, openvino=0.2), *results("int8", 1, cpu=0.2, openvino=0.3)],
    }
    auto, chosen = choose_graphs(graphs)
    assert auto == Backend("auto", "int8", 1)
    assert chosen == {(name, 1): {"encoder": "openvino", "head": "cpu"} for name in ("fp32", "int8")}


def test_a_plugin_is_chosen_if_it_beats_the_cpu_and_not_by_its_median_alone() -> None:
    plain = TuningResult(Backend("cpu", "fp32", 1), 1.0)
    for beats, name in ((True, "openvino"), (False, "cpu")):
        plugin = TuningResult(Backend("openvino", "fp32", 1), 0.98, beats)
        assert choose_graphs({"model": [plain, plugin]})[1] == {("fp32", 1): {"model": name}}


def test_a_provider_is_compared_with_the_cpu_with_as_many_threads() -> None:
    """By processor time with one thread of the processor, else by wall time."""
    cpu, two, plugin, plugin_two, gpu = (
        Backend(*one) for one in (("cpu", "fp32", 1), ("cpu", "fp32", 2), ("openvino", "fp32", 1),
                                  ("openvino", "fp32", 2), ("webgpu", "fp32", 1))
    )  # fmt: skip
    timings = {
        cpu: timing([2.0] * 20, 2.0),
        two: timing([1.0] * 20, 2.0),
        plugin: timing([9.0] * 20, 1.98),
        plugin_two: timing([1.01] * 20, 1.9),
        gpu: timing([1.9] * 20, 9.0),
    }
    assert tune.winners(timings) == {plugin, gpu}


def test_more_threads_must_pay_for_all_graphs_together() -> None:
    graphs = {
        "encoder": [*results("fp32", 1, cpu=6.0, openvino=5.0), *results("fp32", 2, cpu=3.1, openvino=3.2)],
        "head": [*results("fp32", 1, cpu=0.1), *results("fp32", 2, cpu=0.1)],
    }
    assert choose_graphs(graphs) == (
        Backend("cpu", "fp32", 2),
        {("fp32", 1): {"encoder": "openvino", "head": "cpu"}, ("fp32", 2): {"encoder": "cpu", "head": "cpu"}},
    )


def candidate(provider: str, answer: float) -> Candidate:
    run = partial(np.full, 4, answer, np.float32)
    backend = Backend(provider, "fp32", 1, fallback=True)
    return Candidate("net", OURS, "fp32", provider, 1, 1, 1.0, 1.0, run, setup=backend)


def test_a_provider_with_other_answers_is_left_out() -> None:
    candidates = [candidate("cpu", 2.0), candidate("openvino", 2.01), candidate("webgpu", 2.5)]
    (reason,) = differing_providers(candidates).items()
    assert reason[0] == ("webgpu", "fp32")
    assert reason[1] == (
        "net fp32 on webgpu: its outputs differ from the CPU's by 0.25 of the largest, more than 0.01"
    )


@pytest.fixture
def action(tmp_path: Path) -> Package:
    return tiny_patterns.clip_package(tmp_path / "action")


def test_auto_opens_each_graph_where_it_was_fastest(action: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, bool]] = []

    def note(graph: Graph, backend: Backend) -> None:
        opened.append((backend.name, backend.fallback))

    monkeypatch.setattr(tuning, "make_session", note)
    chosen = {("fp32", 1): {"encoder": "openvino", "head": "cpu"}}
    key = package_key(action)
    write_record({key: [Backend("auto", "fp32", 1)]}, graphs={key: chosen})
    backend = resolve_backend(action)
    assert backend == Backend("auto", "fp32", 1)
    for role in ("encoder", "head"):
        open_graph(action, role, backend)
    assert opened == [("openvino", True), ("cpu", False)], "a plug-in may have gone since"
    assert resolve_backend(action, Backend("openvino")) == Backend("openvino", "fp32", 1)
    assert tuned_graphs() == {key: chosen}


def test_a_provider_that_all_graphs_share_is_that_of_the_package(action: Package) -> None:
    key = package_key(action)
    graphs = {key: {("fp32", 2): {"encoder": "openvino", "head": "openvino"}}}
    write_record({key: [Backend("auto", "int8", 2)]}, graphs=graphs)
    assert resolve_backend(action) == Backend("openvino", "fp32", 2, fallback=True)


def test_the_provider_of_a_graph_depends_on_the_number_of_threads(action: Package) -> None:
    """`tune` chose two threads on the CPU; with one, the plug-in was faster."""
    key = package_key(action)
    plugin, plain = {"encoder": "openvino", "head": "cpu"}, {"encoder": "cpu", "head": "cpu"}
    graphs = {key: {("fp32", 1): plugin, ("fp32", 2): plain}}
    write_record({key: [Backend("cpu", "fp32", 2)]}, graphs=graphs)
    assert tuned_graphs() == graphs
    used = {}
    for threads in (None, 1, 2, 3):
        backend = resolve_backend(action, Backend(threads=threads))
        used[threads] = {role: graph_backend(action, role, backend).name for role in plugin}
    assert used == {None: plain, 1: plugin, 2: plain, 3: plain}, "the nearest number for one not measured"


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

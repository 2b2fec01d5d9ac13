"""Ratios, peers that fail, and what a person reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeharfer.benchmark.measure import Timing
from edgeharfer.benchmark.plot import plot
from edgeharfer.benchmark.rows import Candidate, Comparison, as_rows
from edgeharfer.benchmark.table import end_to_end_lines, table
from edgeharfer.runtime.errors import SinkError

OURS = Candidate("net", "onnxruntime", "fp32", "CPUExecutionProvider", 1, 1, 8.5, 40.0, lambda: None)
KEYS = {"name", "backend", "precision", "provider", "threads", "batch", "median_ms", "p95_ms", "size_mb"}


def peer(backend: str, **changes: Any) -> Candidate:
    return replace(OURS, backend=backend, provider="CPU", **changes)


def rows_of(*timed: tuple[Candidate, float]) -> list[dict[str, Any]]:
    return as_rows([one for one, _ in timed], [Timing(np.full(4, ms), np.full(4, ms)) for _, ms in timed])


def test_a_ratio_is_how_many_times_longer_the_peer_takes() -> None:
    rows = rows_of(
        (OURS, 2.0), (peer("keras predict"), 80.0), (peer("keras tf.function"), 6.0), (peer("litert"), 1.0)
    )
    assert rows[0]["ratios"] == {"keras": 40.0, "keras_function": 3.0, "litert": 0.5}
    assert [row["ratios"] for row in rows[1:]] == [{}, {}, {}]


def test_a_ratio_is_taken_in_the_same_precision_or_against_fp32() -> None:
    quick = replace(OURS, precision="int8")
    rows = rows_of(
        (OURS, 2.0),
        (quick, 1.0),
        (peer("openvino"), 4.0),
        (peer("openvino", precision="int8"), 3.0),
        (peer("keras predict"), 50.0),
    )
    assert rows[0]["ratios"] == {"keras": 25.0, "openvino": 2.0}
    assert rows[1]["ratios"] == {"keras": 50.0, "openvino": 3.0}


@pytest.mark.parametrize("other", [{"threads": 2}, {"batch": 4}, {"name": "another"}])
def test_a_peer_of_another_kind_is_no_measure(other: dict[str, Any]) -> None:
    assert rows_of((OURS, 2.0), (peer("openvino", **other), 4.0))[0]["ratios"] == {}


def test_rows_hold_what_the_interface_promises() -> None:
    (row,) = rows_of((replace(OURS, batch=4, accuracy=0.75), 2.0))
    assert set(row) >= KEYS | {"ratios"}
    assert row["per_second"] == 2000.0
    assert row["top1"] == 0.75


def test_a_peer_that_fails_is_left_out_with_its_reason_and_keeps_what_it_has_made() -> None:
    def broken() -> None:
        raise ValueError("operator LSTM is not known\nat line 3")

    def made() -> Iterator[Candidate]:
        yield peer("litert")
        yield peer("litert", run=broken)

    comparison = Comparison()
    comparison.add_peer("litert, net head", made())
    assert [one.backend for one in comparison.candidates] == ["litert"]
    assert comparison.left_out == ["litert, net head: operator LSTM is not known"]


def test_the_table_marks_what_auto_uses() -> None:
    rows = rows_of((replace(OURS, auto=True), 1.0), (replace(OURS, threads=2), 1.0))
    assert [row.get("auto", False) for row in rows] == [True, False]
    first, second = table(rows).splitlines()[1:]
    assert "CPU (auto)" in first and "auto" not in second


def test_the_table_says_where_a_provider_gave_way() -> None:
    rows = rows_of((replace(OURS, asked="cuda"), 2.0), (peer("keras predict"), 80.0))
    text = table(rows).splitlines()
    assert "x predict" in text[0] and "top-1" not in text[0]
    assert "CPU (not cuda)" in text[1] and text[1].endswith("40.00")
    assert text[2].endswith("–")
    assert table(rows, markdown=True).splitlines()[1].startswith("| --- |")


def test_end_to_end_figures_in_words() -> None:
    figures: dict[str, Any] = {
        "frames": 600, "fps": 400.0, "cpu_ms_per_frame": 2.4, "encoder_unit_ms": 1.0,
        "cpu_in_encoder_units": 2.4, "cpu_with_decode_in_encoder_units": 3.1,
        "latency_ms": {"total": {"p50": 2.0, "p95": 3.0, "p99": 4.0}},
        "keras_loop_fps": 5.0, "ratio_to_keras_loop": 80.0, "rss_mb": 150.0, "faces_per_frame": 1.0,
        "without_decode": {"frames": 600, "fps": 410.0, "latency_ms": {"total": {"p50": 1.9}}},
        "cpu_ms_per_frame_with_decode": 3.1, "models": {"action": "net fp32"},
        "keras_loop": {"detector": "haar"},
    }  # fmt: skip
    text = "\n".join(end_to_end_lines(figures))
    assert "400.0 fps" in text and "2.40 units, 3.10 with decode" in text and "80.0 times as fast" in text
    without = {**figures, "keras_loop_fps": None, "cpu_in_encoder_units": None, "rss_mb": None}
    assert not any(word in "\n".join(end_to_end_lines(without)) for word in ("Keras", "unit", "memory"))


MACHINE: dict[str, Any] = {"cpu": "Example 3000", "cores": 2, "load_average": 0.1, "date": "2026-11-29"}


def drawn(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], path: Path, **machine: Any) -> Any:
    """The figure that is written."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def recorded(figure: Figure, *rest: Any, **named: Any) -> None:
        figures.append(figure)
        save(figure, *rest, **named)

    monkeypatch.setattr(Figure, "savefig", recorded)
    plot(rows, {**MACHINE, **machine}, path)
    return figures[0]


def test_the_plot_names_machine_and_date_and_has_dots_with_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = as_rows([OURS], [Timing(np.array([1.0, 2.0, 9.0]), np.ones(3))])
    figure = drawn(monkeypatch, rows, tmp_path / "dots.png")
    assert (tmp_path / "dots.png").read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle() == "Example 3000, 2 cores, 2026-11-29"
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and not axes.patches
    spread, dot = axes.lines
    assert list(spread.get_xdata()) == [pytest.approx(1.1), pytest.approx(8.3)]
    assert list(dot.get_xdata()) == [2.0]


def test_the_plot_sets_batches_apart_and_marks_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of((OURS, 2.0), (replace(OURS, batch=8), 9.0), (peer("litert"), 1.0))
    figure = drawn(monkeypatch, rows, tmp_path / "dots.svg", load_average=5.0)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["batch 1", "batch 8"]
    assert "BUSY MACHINE (load 5.0)" in figure.get_suptitle()
    with pytest.raises(SinkError, match="cannot write the plot"):
        plot(rows_of((OURS, 2.0)), MACHINE, tmp_path / "bars.unknown")

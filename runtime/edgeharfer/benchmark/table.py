"""Format the results as a table for the terminal or Markdown, and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeharfer.benchmark.rows import RATIO_OF
from edgeharfer.runtime.tasks import PACKAGE_TASKS

_RATIO_TITLES = {
    "keras": "x predict",
    "keras_function": "x tf.function",
    "openvino": "x OpenVINO",
    "litert": "x LiteRT",
}
_TIMES = {"median_ms": "median ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms", "cpu_ms": "CPU ms"}
_TEXT_COLUMNS = 4


def table(rows: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Format one line per row.

    "x predict" is the time of Keras `predict` divided by that of the row. "auto" marks what `--provider auto`
    uses, if the package was tuned on this device.
    """
    ratios = [key for key in RATIO_OF.values() if any(key in row["ratios"] for row in rows)]
    with_accuracy = any("top1" in row for row in rows)
    with_streams = any(row.get("streams", 1) > 1 for row in rows)
    times = [key for key in _TIMES if all(key in row for row in rows)]
    titles = ["name", "backend", "precision", "provider", "threads", "batch"]
    titles += [*(["streams"] if with_streams else []), *(_TIMES[key] for key in times), "per s"]
    titles += [
        "MB",
        "load ms",
        *(["top-1"] if with_accuracy else []),
        *(_RATIO_TITLES[key] for key in ratios),
    ]
    lines = [titles]
    for row in rows:
        cells = [row["name"], row["backend"], row["precision"], _provider(row), row["threads"], row["batch"]]
        cells += [row.get("streams", 1)] if with_streams else []
        cells += [f"{row[key]:.3f}" for key in times]
        cells += [_number(row["per_second"], ".0f")]
        cells += [f"{row['size_mb']:.2f}", f"{row['load_ms']:.0f}"]
        cells += [_number(row.get("top1"), ".4f")] if with_accuracy else []
        cells += [_number(row["ratios"].get(key), ".2f") for key in ratios]
        lines.append([str(cell) for cell in cells])
    return _markdown(lines) if markdown else _plain(lines)


def end_to_end_lines(figures: Mapping[str, Any]) -> list[str]:
    """The end-to-end figures as text."""
    without = figures["without_decode"]
    lines = [
        f"end to end: {', '.join(figures['models'].values()) or 'faces only'}; "
        f"{figures['faces_per_frame']:.2f} faces a frame",
        f"  with decode     {figures['fps']:.1f} fps over {figures['frames']} frames, "
        f"CPU {figures['cpu_ms_per_frame_with_decode']:.2f} ms a frame",
        f"  without decode  {without['fps']:.1f} fps over {without['frames']} frames, "
        f"CPU {figures['cpu_ms_per_frame']:.2f} ms a frame",
    ]
    if (units := figures["cpu_in_encoder_units"]) is not None:
        with_decode = figures.get("cpu_with_decode_in_encoder_units")  # Not in figures of earlier versions.
        lines.append(
            f"  encoder unit    {figures['encoder_unit_ms']:.3f} ms, so a frame costs {units:.2f} units"
            + ("" if with_decode is None else f", {with_decode:.2f} with decode")
        )
    for name, stages in (("with decode", figures["latency_ms"]), ("without", without["latency_ms"])):
        lines += [f"  {stage:8} {name:12} {_percentiles(values)} ms" for stage, values in stages.items()]
    if figures["rss_mb"] is not None:
        lines.append(f"  memory          {figures['rss_mb']:.0f} MiB")
    if figures["keras_loop_fps"] is not None:
        lines.append(
            f"  Keras loop      {figures['keras_loop_fps']:.2f} fps ({figures['keras_loop']['detector']}), "
            f"so this is {figures['ratio_to_keras_loop']:.1f} times as fast"
        )
    if (same := figures.get("agreement")) is not None:
        shares = ", ".join(f"{task}s in {same[task]:.1%}" for task in PACKAGE_TASKS)
        lines.append(
            f"  agreement       with every stage on every frame, in FP32: {shares} "
            f"of {same['seconds']} seconds"
        )
    return lines


def _percentiles(values: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.2f}" for key, value in values.items())


def _provider(row: Mapping[str, Any]) -> str:
    name = str(row["provider"]).replace("ExecutionProvider", "")
    if row.get("auto"):
        return f"{name} (auto)"
    return f"{name} (not {row['asked_provider']})" if "asked_provider" in row else name


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def _plain(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < _TEXT_COLUMNS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---" if i < _TEXT_COLUMNS else "---:" for i in range(len(lines[0]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])

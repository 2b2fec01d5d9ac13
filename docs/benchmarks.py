"""Update the tables of docs/benchmarks.md: python docs/benchmarks.py [--part NAME]...

Each part is one `edgeharfer benchmark` command. Its figures are stored in docs/benchmarks/NAME.json, and the
page is written from these files. PARTS lists the input files; a part with missing ones keeps its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeharfer.benchmark.table import end_to_end_lines, table

HERE = Path(__file__).resolve().parent
PAGE, FIGURES = HERE / "benchmarks.md", HERE / "benchmarks"
MARK = "<!-- figures below are written by docs/benchmarks.py -->"


@dataclass(frozen=True)
class Part:
    """A heading, the command below it, the files that it needs, and whether `tune` runs before it."""

    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    tuned: bool = False


PARTS: Mapping[str, Part] = {
    "clip112": Part(
        "A clip model: streaming encoder and head against the whole window",
        ("packages/clip112", "--keras-model", "runs/clip112.keras", "--against", "keras,openvino,litert"),
        ("packages/clip112", "runs/clip112.keras"),
    ),
    "resnet50v2": Part(
        "ResNet50V2 on faces of 112 pixels",
        (
            "packages/resnet50v2",
            "--keras-model",
            "runs/resnet50v2.keras",
            "--against",
            "keras,openvino,litert",
            "--threads",
            "2",
        ),
        ("packages/resnet50v2", "runs/resnet50v2.keras"),
    ),
    "clip112-auto": Part(
        "The clip model after `edgeharfer tune`",
        (
            *("packages/clip112", "--keras-model", "runs/clip112.keras", "--provider", "cpu,openvino"),
            *("--against", "openvino,litert"),
        ),
        ("packages/clip112", "runs/clip112.keras"),
        tuned=True,
    ),
    "resnet50v2-auto": Part(
        "ResNet50V2 after `edgeharfer tune`",
        (
            *("packages/resnet50v2", "--keras-model", "runs/resnet50v2.keras", "--provider", "cpu,openvino"),
            *("--against", "openvino,litert"),
        ),
        ("packages/resnet50v2", "runs/resnet50v2.keras"),
        tuned=True,
    ),
    "packages": Part("The packages that ship", ("--against", "openvino")),
    "end-to-end": Part(
        "End to end, one face",
        ("--end-to-end", "--source", "clip.mp4", "--against", "keras", "--agreement"),
        ("clip.mp4",),
    ),
    "six-faces": Part(
        "End to end, six faces", ("--end-to-end", "--source", "clip.mp4", "--faces", "6"), ("clip.mp4",)
    ),
}


def measure(name: str, part: Part) -> bool:
    """Run the command of a part in the working directory; False if it fails or a file is missing."""
    if missing := [file for file in part.needs if not Path(file).exists()]:
        print(f"{name}: {missing[0]} is missing, so its figures are not updated", file=sys.stderr)
        return False
    FIGURES.mkdir(exist_ok=True)
    target = FIGURES / f"{name}.json"
    program = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        if part.tuned:
            subprocess.run([*program, "tune", part.command[0]], env=environment, check=True)
        command = [*program, "benchmark", *part.command, "--json", str(target)]
        return subprocess.run(command, env=environment, check=False).returncode == 0


def section(name: str, part: Part) -> str:
    """Format one part of the page from its figures."""
    figures: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    lines = [f"## {part.title}", ""]
    lines += [f"`edgeharfer tune {part.command[0]}`", ""] if part.tuned else []
    lines += [f"`edgeharfer benchmark {' '.join(part.command)}`", ""]
    lines += [machine_line(figures["machine"]), ""]
    if figures["machine"].get("busy"):
        lines += [
            "The machine was busy, so only `CPU ms` can be compared, and `tune` measured one thread.",
            "",
        ]
    lines += [*auto_lines(figures["rows"]), ""] if part.tuned else []
    lines += [table(figures["rows"], markdown=True), ""]
    if "end_to_end" in figures:
        lines += ["```text", *end_to_end_lines(figures["end_to_end"]), "```", ""]
    lines += [f"Left out: {line}" for line in figures["left_out"]]
    return "\n".join(lines).rstrip() + "\n"


def auto_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare what `--provider auto` uses with the best of the other engines, in processor time."""
    lines = []
    for row in rows:
        others = [
            other["cpu_ms"]
            for other in rows
            if other["backend"] != "onnxruntime"
            and (other["name"], other["precision"]) == (row["name"], row["precision"])
        ]
        if row.get("auto") and others:
            ratio = row["cpu_ms"] / min(others)
            lines.append(f"- {row['name']}, {row['precision']}: {ratio:.2f} x the best other engine")
    return ["Processor time of `auto`:", "", *lines]


def machine_line(machine: Mapping[str, Any]) -> str:
    """Format date, machine and versions of one run."""
    wanted = (
        *("edgeharfer", "onnxruntime", "onnxruntime-ep-openvino", "tensorflow", "keras", "openvino"),
        "ai-edge-litert",
    )
    versions = [f"{name} {machine['versions'][name]}" for name in wanted if name in machine["versions"]]
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, load {machine['load_average']} "
        f"at the start, revision {machine['revision']}; {', '.join(versions)}."
    )


def write_page() -> None:
    """Rewrite the page below MARK."""
    above = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    sections = [section(name, part) for name, part in PARTS.items() if (FIGURES / f"{name}.json").exists()]
    PAGE.write_text(f"{above}{MARK}\n\n" + "\n".join(sections), encoding="utf-8")


def main() -> int:
    """Measure the given parts, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; repeatable")
    parser.add_argument("--page-only", action="store_true", help="only write the page")
    options = parser.parse_args()
    good = True
    for name in () if options.page_only else options.part or PARTS:
        good &= measure(name, PARTS[name])
    write_page()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

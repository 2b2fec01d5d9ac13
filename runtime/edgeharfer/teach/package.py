"""Write a taught package: the encoder of the base package, the taught head, card, receipt and golden."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from edgeharfer.evaluate.golden import write_golden
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import FileSpec, Manifest
from edgeharfer.runtime.inference.package import (
    MANIFEST,
    Package,
    load_package,
    verify_package,
    write_manifest,
)
from edgeharfer.runtime.staging import replaced_folder
from edgeharfer.runtime.types import BACKGROUND
from edgeharfer.runtime.versions import product_version
from edgeharfer.teach.graph import head_graph
from edgeharfer.teach.lesson import Lesson

CARD, RECEIPT, HEAD = "MODELCARD.md", "receipt.json", "head.onnx"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def package_name(out: Path, name: str | None) -> str:
    """Return the name of a new package: the given one, or one derived from its folder.

    Raises:
        ConfigError: The given name is invalid.
    """
    if name is None:
        derived = re.sub(r"[^a-z0-9._-]+", "-", out.resolve().name.lower()).strip("-._")[:64]
        return derived or "taught"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name}: a name needs lower-case letters, digits, '.', '_' and '-', and starts with a "
            "letter or digit"
        )
    return name


def check_out(out: Path) -> None:
    """Check that a package may be written to a folder: to a package, an empty folder, or a new one.

    Raises:
        ConfigError: Something else is there.
    """
    usable = out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
    if out.is_symlink() or (out.exists() and not usable):
        raise ConfigError(f"{out}: exists and is not a model package: choose another --out")


def write_package(lesson: Lesson, out: Path, name: str) -> Package:
    """Write a package completely or not at all.

    Args:
        lesson: What was taught.
        out: Folder of the package; a package that is there is replaced.
        name: Name of the package.

    Raises:
        ConfigError: Something else is at `out`.
        SinkError: The folder cannot be written.
        ModelError: The base package is damaged.
    """
    base = lesson.base
    window = base.manifest.window
    assert window is not None, "a package that reads clips has a window"
    head = head_graph(lesson.head, window, base.manifest.opset)
    check_out(out)
    with replaced_folder(out, check_out) as folder:
        _write_graphs(folder, base, head)
        write_manifest(folder, _manifest(lesson, name, head))
        receipt = json.dumps(_receipt(lesson), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / RECEIPT).write_text(receipt + "\n", encoding="utf-8")
        (folder / CARD).write_text(_card(lesson, name), encoding="utf-8")
        write_golden(verify_package(folder))
    return load_package(out)


def _write_graphs(folder: Path, base: Package, head: Graph) -> None:
    for precision, files in base.manifest.files.items():
        (folder / files["encoder"].file).write_bytes(base.read("encoder", precision).data)
    (folder / HEAD).write_bytes(head.data)


def _manifest(lesson: Lesson, name: str, head: Graph) -> Manifest:
    base = lesson.base.manifest
    spec = FileSpec(HEAD, len(head.data), head.sha256)
    files = {
        precision: {"encoder": roles["encoder"], "head": spec} for precision, roles in base.files.items()
    }
    return replace(
        base,
        name=name,
        labels=lesson.labels,
        output="logits",
        files=files,
        temperature=lesson.confidence.temperature,
        threshold=lesson.confidence.threshold,
        prior={},
        options={},
        beside=(),
        training={
            "taught": "edgeharfer teach",
            "version": product_version(),
            "base": base.name,
            "examples": {one.label: one.examples for one in lesson.classes},
            "background": lesson.background,
        },
        accuracy={
            "split": f"leave one {lesson.held_out[:-1]} out",
            "clips": sum(one.examples for one in lesson.classes),
            "top1": round(lesson.accuracy, 4),
            "background_named": round(lesson.background_named, 4),
        },
    )


def _receipt(lesson: Lesson) -> Mapping[str, object]:
    return {
        "taught": time.strftime("%Y-%m-%d", time.gmtime()),
        "base": {"name": lesson.base.manifest.name},
        "tools": {"edgeharfer": product_version(), "numpy": np.__version__},
        "seconds": round(lesson.seconds, 1),
        "leave_one_out": {
            "left_out": lesson.held_out,
            "top1": round(lesson.accuracy, 4),
            "labels": list(lesson.labels),
            "confusion": lesson.confusion.tolist(),
            "per_class": [_rounded(asdict(one)) for one in lesson.classes],
        },
        "background": {"clips": lesson.background, "named": round(lesson.background_named, 4)},
        "warnings": list(lesson.warnings),
    }


def _rounded(values: Mapping[str, object]) -> dict[str, object]:
    return {key: round(one, 4) if isinstance(one, float) else one for key, one in values.items()}


def confusion_table(lesson: Lesson) -> list[str]:
    """Return the leave-one-out confusion as lines of text: true classes in rows, predictions in columns."""
    rows = [[label, *map(str, counts)] for label, counts in zip(lesson.labels, lesson.confusion, strict=True)]
    header = ["", *(label[:12] for label in lesson.labels)]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in [header, *rows]
    ]  # fmt: skip


def _card(lesson: Lesson, name: str) -> str:
    base = lesson.base.manifest
    classes = ", ".join(one.label for one in lesson.classes)
    lines = [
        f"# {name}",
        "",
        f"Recognises which of {len(lesson.classes)} actions the last {_seconds(lesson)} of video show: "
        f"{classes}. "
        f"Taught with `edgeharfer teach` from {sum(one.examples for one in lesson.classes)} examples.",
        "",
        f"The encoder is that of {base.name}, unchanged; see the card of that package for its data and "
        "terms. The head is ridge regression on mean, mean absolute difference and standard deviation of its "
        "features over the window.",
        "",
        "## Accuracy",
        "",
        f"Each of the {lesson.held_out} was classified by a head that had not seen it: "
        f"{100 * lesson.accuracy:.1f} % of the examples are right.",
        "",
        "| class | examples | recognised | recognised without motion |",
        "|---|---|---|---|",
        *(
            f"| {one.label} | {one.examples} | {_percent(one.recall)} | {_percent(one.frozen_recall)} |"
            for one in lesson.classes
        ),
        "",
        *_background_lines(lesson),
        *_section(
            "Limits", lesson.warnings or ["It has only seen the people, places and cameras of its examples."]
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _background_lines(lesson: Lesson) -> list[str]:
    if BACKGROUND not in lesson.labels:
        return []
    sources = ", ".join(f"{source} ({count})" for source, count in lesson.background.items())
    return [
        f"`{BACKGROUND}` was learned from clips of {len(lesson.background)} sources: {sources}. With one "
        f"source left out at a time, {100 * lesson.background_named:.1f} % of its windows are named as an "
        f"action. Below a score of {lesson.confidence.threshold:g} the runtime says `uncertain`.",
        "",
    ]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines), ""]


def _seconds(lesson: Lesson) -> str:
    window = lesson.base.manifest.window
    assert window is not None, "a package that reads clips has a window"
    return f"{window.seconds:g} s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

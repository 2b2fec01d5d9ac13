"""`edgeharfer evaluate`: accuracy of what would be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.accuracy import measure_accuracy
from edgeharfer.cli.options import path_option, provider_options
from edgeharfer.cli.packages import opened
from edgeharfer.runtime.staging import write_json


@click.command()
@click.argument("package")
@path_option("--data", required=True, metavar="DIR|ZIP", help="<class>/<file>, or <split>/<class>/<file>.")
@click.option("--split", help="The split to measure; without it the one for testing.")
@path_option(
    "--ferplus", metavar="CSV", help="Label by the majority of these FER+ votes, joined by file name."
)
@click.option(
    "--prior", type=click.Choice(["package", "data", "balanced", "uniform"]), default="package",
    show_default=True, help="Class shares that the emotions assume.",
)  # fmt: skip
@path_option("--json", "json_file", metavar="FILE", help="Write the figures.")
@provider_options
def evaluate(package: str, data: Path, json_file: Path | None, **options: Any) -> None:
    """Measure the accuracy of a PACKAGE, or of a Keras model as it would be exported.

    \b
    edgeharfer evaluate emotion-fer8 --data fer2013.zip --ferplus fer2013new.csv
    edgeharfer evaluate action-ucf20 --data clips/
    """
    with opened(package) as found:
        figures = measure_accuracy(found, data, options)
    click.echo(table(figures))
    if json_file is not None:
        write_json(json_file, figures)


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{'class':18} {'n':>6} {'precision':>10} {'recall':>8} {'f1':>8}"]
    lines += [
        f"{label:18} {row['support']:6} {row['precision']:10.3f} {row['recall']:8.3f} {row['f1']:8.3f}"
        for label, row in figures["per_class"].items()
    ]
    known = ("n", "top1", "window_top1", "top3", "macro_f1", "weighted_f1")
    shown = [(key, figures[key]) for key in known if key in figures]
    lines.append(
        "  ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown
        )
    )
    if left_out := figures.get("left_out"):
        lines.append("left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items()))
    return "\n".join(lines)

"""`edgeharfer evaluate`: measure the accuracy of a package on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.accuracy import measure_accuracy
from edgeharfer.cli.completion import complete_model
from edgeharfer.cli.model_file import model_file_options
from edgeharfer.cli.options import path_option, provider_options
from edgeharfer.cli.packages import open_package
from edgeharfer.runtime.staging import write_json


@click.command()
@click.argument("package", shell_complete=complete_model)
@path_option(
    "--data",
    required=True,
    metavar="DIR|ZIP",
    help="Folder or zip of <class>/<file>, or <split>/<class>/<file>.",
)
@click.option("--split", help="Split to evaluate; default: the test split.")
@path_option("--ferplus", metavar="CSV", help="Label by majority of these FER+ votes, joined by file name.")
@click.option(
    "--prior", type=click.Choice(["package", "data", "balanced", "uniform"]), default="package",
    show_default=True, help="Class prior of the emotion model.",
)  # fmt: skip
@path_option("--json", "json_file", metavar="FILE", help="Write the results as JSON.")
@model_file_options
@provider_options
def evaluate(package: str, data: Path, json_file: Path | None, **options: Any) -> None:
    """Measure the accuracy of a package or model file on labelled data.

    A model file is measured as it would be exported; the options of `export` state what it does not record.

    \b
    edgeharfer evaluate emotion-fer8 --data fer2013.zip --ferplus fer2013new.csv
    edgeharfer evaluate action-ucf20 --data clips/
    edgeharfer evaluate model.h5 --labels labels.txt --normalize unit --data fer2013.zip
    """
    with open_package(package, options) as found:
        metrics = measure_accuracy(found, data, options)
    warning = check_label_order(metrics)
    click.echo(table(metrics))
    if warning is not None:
        click.echo(f"warning: {warning}", err=True)
    if json_file is not None:
        write_json(json_file, metrics)


def check_label_order(metrics: dict[str, Any]) -> str | None:
    """Look for a wrong order of labels: a class that is almost never right, and an order that fits better.

    Adds the better order to the metrics, as `label_order`.

    Returns:
        A warning, or None if there is nothing to warn of.
    """
    import numpy as np

    from edgeharfer.evaluate.label_orders import FITTED, better_order

    best = better_order(metrics["labels"], np.array(metrics["confusion"], np.int64))
    if best is None:
        return None
    metrics["label_order"] = {"name": best.order.name, "labels": list(best.order.labels), "top1": best.top1}
    name = "assigned by the confusion matrix of this data" if best.order.name == FITTED else best.order.name
    return (
        f"the labels seem to be in another order: top-1 is {best.top1:.1%} instead of {metrics['top1']:.1%} "
        f"with {', '.join(best.order.labels)} ({name}): see `edgeharfer inspect --data`"
    )


def table(metrics: dict[str, Any]) -> str:
    """Format the metrics as a text table."""
    lines = [f"{'class':18} {'n':>6} {'precision':>10} {'recall':>8} {'f1':>8}"]
    lines += [
        f"{label:18} {row['support']:6} {row['precision']:10.3f} {row['recall']:8.3f} {row['f1']:8.3f}"
        for label, row in metrics["per_class"].items()
    ]
    known = ("n", "top1", "window_top1", "top3", "macro_f1", "weighted_f1")
    shown = [(key, metrics[key]) for key in known if key in metrics]
    lines.append(
        "  ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown
        )
    )
    if left_out := metrics.get("left_out"):
        lines.append("skipped: " + ", ".join(f"{count} {why}" for why, count in left_out.items()))
    return "\n".join(lines)

"""`edgeharfer export`: from a Keras model to a model package."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeharfer.cli.extras import needs_extra

if TYPE_CHECKING:
    from edgeharfer.runtime.package import Package


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The package's folder."
)
@click.option("--task", type=click.Choice(["auto", "emotion", "action"]), default="auto", show_default=True)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Class names in the order of the outputs: JSON, or text with one a line.",
)
@click.option(
    "--normalize",
    type=click.Choice(["auto", "none", "unit", "symmetric", "standardize", "imagenet"]),
    default="auto",
    show_default=True,
    help="How pictures are scaled; unit is [0, 1], symmetric [-1, 1].",
)
@click.option(
    "--precision", default="fp32", show_default=True, metavar="LIST", help="fp32, fp16, or fp32,fp16."
)
@click.option(
    "--half-weights", is_flag=True, help="Store FP32 weights in half the space; they are widened on loading."
)
@click.option("--name", help="Of the package; picks one where a training run holds several.")
def export(
    model: Path,
    out: Path,
    task: str,
    labels: Path | None,
    normalize: str,
    precision: str,
    half_weights: bool,
    name: str | None,
) -> None:
    """Turn MODEL into a model package.

    MODEL is a .keras, .h5 or .hdf5 file, a SavedModel, or a training run's folder. An action model is
    split into the encoder of a frame and the head over a window. The package appears whole or not at
    all, with a receipt that says how far it differs from the Keras model.
    """
    with needs_extra("export"):
        from edgeharfer.export import export_model

    export_model(
        model,
        out,
        task=task,
        labels=labels,
        normalize=normalize,
        precisions=[part.strip() for part in precision.split(",")],
        half_weights=half_weights,
        name=name,
        report=click.echo,
    )


@contextmanager
def exported_for_now(model: Path) -> Iterator[Package]:
    """A Keras model as the package that it would become, gone when the block is left."""
    with needs_extra("export"):
        from edgeharfer.export import export_model

    with tempfile.TemporaryDirectory(prefix="edgeharfer-") as folder:
        yield export_model(model, Path(folder, "package"))

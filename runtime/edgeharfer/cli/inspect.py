"""`edgeharfer inspect`: the inputs and outputs of a model file, and the settings that fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.completion import complete_model
from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.model_file import model_arguments, model_file_options
from edgeharfer.cli.options import path_option
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.staging import write_json, write_text


@click.command()
@click.argument("model", type=click.Path(path_type=Path), shell_complete=complete_model)
@path_option(
    "--data", metavar="DIR|ZIP",
    help="Labelled data on which label orders, channel orders and normalisations are tried.",
)  # fmt: skip
@click.option("--split", help="Split of --data to use; default: the test split.")
@path_option("--ferplus", metavar="CSV", help="Label by majority of these FER+ votes, joined by file name.")
@click.option("--name", help="Package to use from a training run that has several.")
@path_option("--json", "json_file", metavar="FILE", help="Write the results as JSON.")
@path_option(
    "--write-labels", metavar="FILE", help="Write the label order that fits best, one name per line."
)
@model_file_options
def inspect(
    model: Path,
    data: Path | None,
    split: str | None,
    ferplus: Path | None,
    name: str | None,
    json_file: Path | None,
    write_labels: Path | None,
    **options: Any,
) -> None:
    """Show the inputs and outputs of a model file, and find the settings that fit it.

    MODEL is a Keras, ONNX or TensorFlow Lite file, a SavedModel, a .json architecture with --weights, a
    training run, or a package. The options of `export` state what is known about the model.

    \b
    edgeharfer inspect model.h5
    edgeharfer inspect model.h5 --data fer2013.zip --write-labels labels.txt
    """
    for option, value in (("--split", split), ("--ferplus", ferplus), ("--write-labels", write_labels)):
        if value is not None and data is None:
            raise click.UsageError(f"{option} requires --data")
    with needs_extra("export"):
        from edgeharfer.export.inspection import GivenFacts, inspect_model

    given = GivenFacts(name=name, **model_arguments(options))
    found = inspect_model(model, given, data=data, split=split, ferplus=ferplus)
    for line in found.lines():
        click.echo(line)
    if json_file is not None:
        write_json(json_file, found.to_dict())
    if write_labels is not None:
        if not found.labels:
            raise ConfigError(f"{model}: is already a package, so there are no labels to write")
        write_text(write_labels, "".join(f"{label}\n" for label in found.labels))

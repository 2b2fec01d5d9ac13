"""`edgeharfer prepare`: FER-2013's csv as pictures, and the copies and damage of any data set listed."""

from __future__ import annotations

from pathlib import Path

import click

from edgeharfer.cli.options import path_option


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CSV|DIR|ZIP")
@path_option("--out", required=True, metavar="DIR", help="A new folder for it all.")
@path_option(
    "--ferplus", metavar="CSV",
    help="FER+ votes: the pictures of a csv get the names they have there, and the join is checked.",
)  # fmt: skip
def prepare(source: Path, out: Path, ferplus: Path | None) -> None:
    """Turn Kaggle's fer2013.csv into pictures, or look a folder or zip of them over.

    DIR gets train/, val/ and test/ with a folder for each class (from a csv), copies.csv with every exact
    and near copy of another picture, and report.json with counts, damaged and blank pictures, and what
    training will leave out. DIR appears whole or not at all.

    \b
    edgeharfer prepare fer2013.csv --ferplus fer2013new.csv --out fer2013
    edgeharfer prepare faces.zip --out faces-report
    """
    from edgeharfer.training.prepare import prepare as run

    run(source, out, votes=ferplus, report=click.echo)

"""`edgeharfer prepare`: convert fer2013.csv to images and check data sets for duplicates and damage."""

from __future__ import annotations

from pathlib import Path

import click

from edgeharfer.cli.options import path_option
from edgeharfer.cli.progress import echo


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CSV|DIR|ZIP")
@path_option("--out", required=True, metavar="DIR", help="New output folder.")
@path_option(
    "--ferplus", metavar="CSV",
    help="FER+ votes; images of a CSV are named as in this table, and the match is checked.",
)  # fmt: skip
def prepare(source: Path, out: Path, ferplus: Path | None) -> None:
    """Convert Kaggle's fer2013.csv to images; list duplicates and damaged images.

    A folder or zip of images is only checked.

    From a CSV, the images are written to train/, val/ and test/, in a folder for each class. copies.csv lists
    all exact and near duplicates, and report.json has counts, damaged and blank images, and the images that
    training will skip. The folder is written completely or not at all.

    \b
    edgeharfer prepare fer2013.csv --ferplus fer2013new.csv --out fer2013
    edgeharfer prepare faces.zip --out faces-report
    """
    from edgeharfer.training.prepare import prepare as run

    run(source, out, votes=ferplus, report=echo)

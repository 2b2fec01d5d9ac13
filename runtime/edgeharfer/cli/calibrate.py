"""`edgeharfer calibrate`: which items a model's INT8 form is calibrated on, as a file of hashes."""

from __future__ import annotations

from pathlib import Path

import click

from edgeharfer.cli.options import path_option
from edgeharfer.cli.packages import opened
from edgeharfer.runtime.staging import write_text


@click.command()
@click.argument("model")
@path_option(
    "--data", required=True, metavar="DIR|ZIP",
    help="<class>/<file>, or <split>/<class>/<file>, of which the training split is used.",
)  # fmt: skip
@path_option("--out", required=True, metavar="FILE.json")
@click.option("--split", help="The split to choose from; without it the one for training.")
@path_option("--ferplus", metavar="CSV", help="Classes by these FER+ votes.")
@click.option(
    "--items", type=click.IntRange(1), default=500, show_default=True,
    help="At least, where there are as many.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def calibrate(
    model: str, data: Path, out: Path, split: str | None, ferplus: Path | None, items: int, seed: int
) -> None:
    """Choose the pictures or frames that MODEL, a package or a Keras model, is calibrated on.

    The choice is balanced over the classes. The file holds their SHA-256 and nothing of the data itself;
    with it `edgeharfer export --calibration DATA --calibration-set FILE.json` takes the same ones again.
    """
    from edgeharfer.calib import open_calibration_source

    with opened(model) as package:
        calibration = open_calibration_source(package.manifest, data, ferplus).calibration(items, seed, split)
    write_text(out, calibration.chosen.dump())
    counts = ", ".join(f"{label} {len(chosen)}" for label, chosen in calibration.chosen.items.items())
    click.echo(f"{len(calibration.chosen)} items ({counts}), SHA-256 {calibration.chosen.sha256}")

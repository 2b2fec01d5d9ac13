"""`edgeharfer calibrate`: choose the calibration set for INT8 quantization."""

from __future__ import annotations

from pathlib import Path

import click

from edgeharfer.cli.completion import complete_model
from edgeharfer.cli.options import path_option
from edgeharfer.cli.packages import open_package
from edgeharfer.runtime.staging import write_text


@click.command()
@click.argument("model", shell_complete=complete_model)
@path_option(
    "--data", required=True, metavar="DIR|ZIP",
    help="Folder or zip of <class>/<file>, or <split>/<class>/<file>; the training split is used.",
)  # fmt: skip
@path_option("--out", required=True, metavar="FILE.json", help="Output file with the calibration set.")
@click.option("--split", help="Split to choose from; default: the training split.")
@path_option("--ferplus", metavar="CSV", help="Label by majority of these FER+ votes, joined by file name.")
@click.option(
    "--items", type=click.IntRange(1), default=500, show_default=True,
    help="Minimum number of items, if the data has that many.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Random seed.")
def calibrate(
    model: str, data: Path, out: Path, split: str | None, ferplus: Path | None, items: int, seed: int
) -> None:
    """Choose a calibration set for INT8 quantization.

    MODEL is a package or a model file. The set is balanced over the classes. FILE.json contains the SHA-256
    of each item and none of the data; `edgeharfer export --calibration DATA --calibration-set FILE.json` uses
    the same items.
    """
    from edgeharfer.calib import open_calibration_source

    with open_package(model) as package:
        calibration = open_calibration_source(package.manifest, data, ferplus).calibration(items, seed, split)
    write_text(out, calibration.chosen.dump())
    counts = ", ".join(f"{label} {len(chosen)}" for label, chosen in calibration.chosen.items.items())
    click.echo(f"{len(calibration.chosen)} items ({counts}), SHA-256 {calibration.chosen.sha256}")

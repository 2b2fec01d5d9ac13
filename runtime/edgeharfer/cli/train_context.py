"""`edgeharfer train context`: count which emotions occur with which actions."""

from __future__ import annotations

from pathlib import Path

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.options import path_option


@click.command()
@path_option(
    "--emotic", multiple=True, metavar="MAT|CSV",
    help="EMOTIC's Annotations.mat, or a CSV of one of its splits; repeatable.",
)  # fmt: skip
@path_option(
    "--mpii", metavar="MAT|CSV", help="MPII Human Pose's mpii_human_pose_v1_u12_1.mat, or a CSV of it."
)
@path_option("--pairs", metavar="CSV", help="CSV of your own pairs: image, emotion, action.")
@click.option(
    "--smoothing", type=click.FloatRange(0), default=1.0, show_default=True,
    help="Pseudo-count added to every count when shares are computed.",
)  # fmt: skip
@path_option("--out", required=True, metavar="FILE.json", help="Output table, as JSON.")
def context(
    emotic: tuple[Path, ...], mpii: Path | None, pairs: Path | None, smoothing: float, out: Path
) -> None:
    """Count which emotions occur with which actions, for the likely actions in the app.

    EMOTIC and MPII Human Pose as published have no image in common. From them the table takes how common
    each emotion and each activity is and treats the two as independent; --pairs adds joint counts.

    \b
    edgeharfer train context --emotic Annotations.mat --mpii mpii_human_pose_v1_u12_1.mat --out context.json
    edgeharfer train context --pairs seen.csv --out context.json
    """
    with needs_extra("train"):
        from edgeharfer.training.context.table import build_context, write_context

        found = build_context(emotic, mpii, pairs, smoothing)
    write_context(found, out)
    facts = found.source
    click.echo(f"{len(found.actions)} actions, {found.counts.sum():.0f} people counted, {facts['relation']}")
    if facts["relation"] == "independent":
        click.echo("no image has both an emotion and an activity: the two are treated as independent")

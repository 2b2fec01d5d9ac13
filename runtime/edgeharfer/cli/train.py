"""`edgeharfer train`: from labelled pictures or clips to a Keras model and the figures of its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.options import F

OPTIMIZERS = ("sgd", "adam", "adagrad", "adamw")


@click.group()
def train() -> None:
    """Train an emotion or action model."""


def run_options(command: F) -> F:
    """What every training run is told."""
    for option in reversed([
        click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP|CSV"),
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Folder of the run: model.keras, metrics.json, curves.png and more."),
        click.option("--epochs", type=click.IntRange(1), help="At the most; it stops when no better."),
        click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="Default: the recipe's."),
        click.option("--learning-rate", type=click.FloatRange(0, min_open=True)),
        click.option("--batch", type=click.IntRange(2)),
        click.option("--seed", type=click.IntRange(0)),
        click.option("--resume", is_flag=True, help="Go on where a run in this folder stopped."),
    ]):  # fmt: skip
        command = option(command)
    return command


@train.command()
@run_options
@click.option(
    "--ferplus",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="FER+ votes, for a second head with eight classes.",
)
@click.option("--arch", help="Architecture; default resse.")
@click.option(
    "--dtype", type=click.Choice(["float32", "mixed_bfloat16"]), help="Of the computation while training."
)
def emotion(data: Path, out: Path, ferplus: Path | None, resume: bool, **settings: Any) -> None:
    """Train on FER-2013: a folder or zip of train/ and val/, or the Kaggle csv."""
    with needs_extra("train"):
        from edgeharfer.training.emotion.train import EmotionRecipe, train_emotion

    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE

    detector = make_detector("blazeface", min_score=MIN_PORTRAIT_SCORE)
    recipe = replace(EmotionRecipe(), **given(settings))
    train_emotion(data, out, recipe, detector, votes_file=ferplus, resume=resume, report=click.echo)


@train.command()
@run_options
@click.option(
    "--background",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Clips in which none of the classes happens; may be repeated.",
)
@click.option("--name", help="Of the package that the run becomes.")
@click.option("--side", type=click.IntRange(32, 1024), help="Of the square picture that the encoder sees.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of the window.")
@click.option("--frames", type=click.IntRange(2, 256), help="Pictures in the window.")
@click.option(
    "--grouping",
    type=click.Choice(["scenes", "numbers"]),
    help="Of clips without gNN in their names: by their looks (default), or blocks of ten numbers.",
)
@click.option(
    "--provenance", multiple=True, metavar="TEXT", help="Origin and terms of the data, for the model card."
)
@click.option(
    "--backbone-weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Weights of the MobileNetV2 encoder.",
)
def action(
    data: Path, out: Path, background: tuple[Path, ...], backbone_weights: str, resume: bool, **settings: Any
) -> None:
    """Train on a folder or zip of clips, <class>/<clip>, split by group."""
    with needs_extra("train"):
        from edgeharfer.training.action.train import ActionRecipe, train_action

    recipe = replace(ActionRecipe(), **given(settings))
    train_action(
        data,
        out,
        recipe,
        background=background,
        backbone_weights=backbone_weights,
        resume=resume,
        report=click.echo,
    )


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: value for name, value in settings.items() if value not in (None, ())}

"""`edgeharfer train`: from labelled pictures or clips to a Keras model and the figures of its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.group import Group
from edgeharfer.cli.options import F, path_option
from edgeharfer.cli.train_context import context
from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.emotion.networks import EMOTION_NETWORKS
from edgeharfer.training.optimizers import LEARNING_RATES, SCHEDULES


@click.group(cls=Group)
def train() -> None:
    """Train an emotion or action model."""


train.add_command(context)


def run_options(command: F) -> F:
    """What every training run is told."""
    for option in reversed([
        click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP|CSV"),
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Folder of the run: model.keras, metrics.json, curves.png and more."),
        click.option("--epochs", type=click.IntRange(1), help="At the most; it stops when no better."),
        click.option("--recipe", metavar="NAME|FILE",
                     help="Settings in TOML: a recipe that ships, or a file. Options go before it."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
                     help="One setting of the recipe, such as augmentation.cutmix_probability=0.5."),
        click.option("--optimizer", type=click.Choice(list(LEARNING_RATES)), help="Default: the recipe's."),
        click.option("--compare", metavar="NAME,NAME...",
                     help="Train with each of these optimizers; one table and one plot of all."),
        click.option("--learning-rate", type=click.FloatRange(0, min_open=True)),
        click.option("--batch", type=click.IntRange(2)),
        click.option("--seed", type=click.IntRange(0)),
        click.option("--resume", is_flag=True, help="Go on where a run in this folder stopped."),
    ]):  # fmt: skip
        command = option(command)
    return command


@train.command()
@run_options
@path_option("--ferplus", metavar="CSV", help="FER+ votes, for a second head with eight classes.")
@click.option(
    "--arch", type=click.Choice(list(EMOTION_NETWORKS)), help="Network; default: the recipe's.",
)  # fmt: skip
@click.option("--side", type=click.IntRange(32, 512), help="Of the square picture that the network takes.")
@click.option("--limit", type=click.IntRange(1), help="Train on so many pictures at the most.")
@click.option("--clahe/--no-clahe", default=None, help="Even out the local contrast.")
@click.option("--schedule", type=click.Choice(SCHEDULES), help="Of the learning rate.")
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True))
@click.option("--focal-gamma", type=click.FloatRange(0), help="Focal loss; 0 is cross-entropy.")
@click.option("--class-weight-cap", type=click.FloatRange(0), help="Largest class weight; 0 is none.")
@click.option(
    "--dtype", type=click.Choice(["float32", "mixed_bfloat16"]), help="Of the computation while training."
)
@click.option("--tensorboard", is_flag=True, help="Also write the history for TensorBoard.")
@click.option(
    "--backbone-weights", default="none", show_default=True, metavar="imagenet|none|FILE|DIR",
    help="Weights that a MobileNetV2, ResNet50V2 or VGG16 inside starts from; a folder for hybrid's two.",
)  # fmt: skip
def emotion(
    data: Path,
    out: Path,
    ferplus: Path | None,
    backbone_weights: str,
    recipe: str | None,
    changes: tuple[str, ...],
    compare: str | None,
    resume: bool,
    tensorboard: bool,
    **settings: Any,
) -> None:
    """Train on FER-2013: a folder or zip of train/ and val/, or the Kaggle csv."""
    with needs_extra("train"):
        from edgeharfer.training.emotion.recipe import EmotionRecipe
        from edgeharfer.training.emotion.train import train_emotion
        from edgeharfer.training.recipe import make_recipe

    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE

    detector = make_detector("blazeface", min_score=MIN_PORTRAIT_SCORE)
    wanted = make_recipe(EmotionRecipe, "emotion", recipe, given(settings), changes)

    def train_one(one: EmotionRecipe, folder: Path) -> None:
        train_emotion(
            data, folder, one, detector, votes_file=ferplus, resume=resume, tensorboard=tensorboard,
            backbone_weights=None if backbone_weights == "none" else backbone_weights, report=click.echo,
        )  # fmt: skip

    if compare is None:
        train_one(wanted, out)
    else:
        compare_optimizers(compare, wanted, train_one, out)


@train.command()
@run_options
@path_option(
    "--background", multiple=True, metavar="DIR",
    help="Clips in which none of the classes happens; may be repeated.",
)  # fmt: skip
@click.option("--name", help="Of the package that the run becomes.")
@click.option(
    "--arch",
    type=click.Choice(list(ACTION_NETWORKS)),
    help="What looks at the window; default: the recipe's.",
)
@click.option("--width", type=click.IntRange(32, 1024), help="Of the picture that the encoder sees.")
@click.option("--height", type=click.IntRange(32, 1024), help="Of that picture; frames are stretched to it.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of the window.")
@click.option("--frames", type=click.IntRange(2, 256), help="Pictures in the window.")
@click.option(
    "--sampling", type=click.Choice(["time", "uniform"]),
    help="Windows as the runtime takes them (default), or one spread over the whole clip.",
)  # fmt: skip
@click.option(
    "--grouping", type=click.Choice(["scenes", "numbers", "subject", "clips"]),
    help="What stays on one side of a split. gNN in a name decides; other clips go by their looks (default) "
    "or in blocks of ten numbers. subject: by --subject. clips: nothing, and the figures leak scenes.",
)  # fmt: skip
@click.option("--subject", metavar="PATTERN", help=r"Where a name has its subject, such as 'person(\d+)'.")
@click.option("--folds", type=click.IntRange(2), help="Of the cross-validation.")
@click.option(
    "--provenance", multiple=True, metavar="TEXT", help="Origin and terms of the data, for the model card."
)
@click.option(
    "--backbone-weights", default="imagenet", show_default=True, metavar="imagenet|none|FILE",
    help="Weights of the MobileNetV2 encoder.",
)  # fmt: skip
def action(
    data: Path,
    out: Path,
    background: tuple[Path, ...],
    backbone_weights: str,
    recipe: str | None,
    changes: tuple[str, ...],
    compare: str | None,
    resume: bool,
    **settings: Any,
) -> None:
    """Train on a folder or zip of clips, <class>/<clip>, cross-validated by group."""
    with needs_extra("train"):
        from edgeharfer.training.action.recipe import ActionRecipe
        from edgeharfer.training.action.train import train_action
        from edgeharfer.training.recipe import make_recipe

    wanted = make_recipe(ActionRecipe, "action", recipe, given(settings), changes)

    def train_one(one: ActionRecipe, folder: Path) -> None:
        train_action(
            data, folder, one, background=background, backbone_weights=backbone_weights,
            features=out / "features", resume=resume, report=click.echo,
        )  # fmt: skip

    if compare is None:
        train_one(wanted, out)
    else:
        compare_optimizers(compare, wanted, train_one, out)


def compare_optimizers(names: str, recipe: Any, train_one: Callable[[Any, Path], object], out: Path) -> None:
    """The recipe with each of the optimizers, at that optimizer's own learning rate."""
    from edgeharfer.training.compare import compare_runs
    from edgeharfer.training.records import read_history

    wanted = [name.strip() for name in names.split(",")]
    if unknown := sorted(set(wanted) - set(LEARNING_RATES)):
        raise click.BadParameter(
            f"{unknown[0]}: choose from {', '.join(LEARNING_RATES)}", param_hint="--compare"
        )

    def train_with(name: str, folder: Path) -> list[dict[str, Any]]:
        train_one(replace(recipe, optimizer=name, learning_rate=None), folder)
        return read_history(folder / "history.csv")

    compare_runs(wanted, train_with, out, report=click.echo)


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: value for name, value in settings.items() if value not in (None, ())}

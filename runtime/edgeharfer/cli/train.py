"""`edgeharfer train`: train a Keras model on labelled images or clips."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.group import Group
from edgeharfer.cli.options import F, path_option
from edgeharfer.cli.progress import echo
from edgeharfer.cli.train_context import context
from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.emotion.networks import EMOTION_NETWORKS
from edgeharfer.training.optimizers import LEARNING_RATES, SCHEDULES

if TYPE_CHECKING:
    from edgeharfer.training.action.recipe import ActionRecipe
    from edgeharfer.training.emotion.recipe import EmotionRecipe
    from edgeharfer.training.joints.recipe import JointRecipe

R = TypeVar("R", "EmotionRecipe", "ActionRecipe", "JointRecipe")


@click.group(cls=Group)
def train() -> None:
    """Train an emotion or action model."""


train.add_command(context)


provenance_option = click.option(
    "--provenance", multiple=True, metavar="TEXT",
    help="Origin and licence of data and initial weights, for the model card; repeatable. "
    "Default: the recipe's.",
)  # fmt: skip


def run_options(command: F) -> F:
    """Add the options of every training run."""
    for option in reversed([
        click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP|CSV",
                     help="Training data."),
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Output folder: model.keras, metrics.json, curves.png and more."),
        click.option("--epochs", type=click.IntRange(1),
                     help="Maximum number of epochs; training stops early without improvement."),
        click.option("--recipe", metavar="NAME|FILE",
                     help="Training recipe in TOML: a shipped name or a file. Options take precedence."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
                     help="Override a recipe setting, such as augmentation.cutmix_probability=0.5."),
        click.option("--optimizer", type=click.Choice(list(LEARNING_RATES)),
                     help="Optimizer; default: the recipe's."),
        click.option("--compare", metavar="NAME,NAME...",
                     help="Train with each of these optimizers and compare them in a table and a plot."),
        click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
                     help="Initial learning rate; default: the recipe's or the optimizer's."),
        click.option("--batch", type=click.IntRange(2), help="Batch size; default: the recipe's."),
        click.option("--seed", type=click.IntRange(0), help="Random seed; default: the recipe's."),
        provenance_option,
        click.option("--resume", is_flag=True, help="Resume the run in the output folder."),
    ]):  # fmt: skip
        command = option(command)
    return command


@train.command()
@run_options
@path_option("--ferplus", metavar="CSV", help="FER+ votes; trains a second head with eight classes.")
@click.option(
    "--arch", type=click.Choice(list(EMOTION_NETWORKS)), help="Network; default: the recipe's.",
)  # fmt: skip
@click.option("--side", type=click.IntRange(32, 512), help="Side of the square network input, in pixels.")
@click.option("--limit", type=click.IntRange(1), help="Train on at most this many images, drawn at random.")
@click.option("--clahe/--no-clahe", default=None, help="Equalise the local contrast (CLAHE).")
@click.option("--schedule", type=click.Choice(SCHEDULES), help="Learning-rate schedule.")
@click.option(
    "--label-smoothing", type=click.FloatRange(0, 1, max_open=True), help="Label smoothing; 0 = none."
)
@click.option("--focal-gamma", type=click.FloatRange(0), help="Gamma of the focal loss; 0 = cross-entropy.")
@click.option(
    "--class-weight-cap", type=click.FloatRange(0), help="Maximum class weight; 0 = no class weights."
)
@click.option("--dtype", type=click.Choice(["float32", "mixed_bfloat16"]), help="Numeric type for training.")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard logs.")
@click.option(
    "--backbone-weights", default="none", show_default=True, metavar="imagenet|none|FILE|DIR",
    help="Initial weights of a MobileNetV2, ResNet50V2 or VGG16 backbone; a folder for the two of hybrid; "
    "faceres-deep.json for mobilenetv1-face, that or a run for mobilenetv1-face-small.",
)  # fmt: skip
@click.option(
    "--teacher", "teachers", multiple=True, metavar="DIR[=WEIGHT]",
    help="Finished run whose answers are part of the targets; repeatable.",
)  # fmt: skip
@path_option(
    "--uncertain",
    metavar="DIR|ZIP",
    help="Further faces in folders by class, with labels that count only where the teachers agree.",
)
@click.option(
    "--unlabelled", multiple=True, metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Clips whose faces are added with the teachers' answers; repeatable.",
)  # fmt: skip
@path_option(
    "--mesh", metavar="FILE",
    help="face_landmark.tflite of MediaPipe, for recipes that change the expressions of faces.",
)  # fmt: skip
def emotion(
    data: Path,
    out: Path,
    ferplus: Path | None,
    backbone_weights: str,
    teachers: tuple[str, ...],
    uncertain: Path | None,
    unlabelled: tuple[Path, ...],
    mesh: Path | None,
    recipe: str | None,
    changes: tuple[str, ...],
    compare: str | None,
    resume: bool,
    tensorboard: bool,
    **settings: Any,
) -> None:
    """Train an emotion model on FER-2013: a folder or zip of train/ and val/, or Kaggle's fer2013.csv."""
    with needs_extra("train"):
        from edgeharfer.training.emotion.distill import parse_teacher
        from edgeharfer.training.emotion.face_mesh import FaceMesh
        from edgeharfer.training.emotion.recipe import EmotionRecipe
        from edgeharfer.training.emotion.train import train_emotion

    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE

    detector = make_detector("blazeface", min_score=MIN_PORTRAIT_SCORE)
    wanted = read_options(EmotionRecipe, "emotion", recipe, settings, changes)
    face_mesh = FaceMesh(mesh) if mesh else None

    def train_one(one: EmotionRecipe, folder: Path) -> None:
        train_emotion(
            data, folder, one, detector, votes_file=ferplus, resume=resume, tensorboard=tensorboard,
            teachers=[parse_teacher(text) for text in teachers], uncertain=uncertain, unlabelled=unlabelled,
            mesh=face_mesh,
            backbone_weights=None if backbone_weights == "none" else backbone_weights, report=echo,
        )  # fmt: skip

    if compare is None:
        train_one(wanted, out)
        print_written(out)
    else:
        compare_optimizers(compare, wanted, train_one, out)


@train.command()
@run_options
@click.option(
    "--background", multiple=True, metavar="[NAME=]DIR",
    help="Folder of background clips, without any of the classes; repeatable. Clips with the same NAME are "
    "one source; each source is also evaluated by a model trained without it.",
)  # fmt: skip
@click.option("--name", help="Name of the resulting package.")
@click.option(
    "--arch",
    type=click.Choice(list(ACTION_NETWORKS)),
    help="Network that reads the window; default: the recipe's.",
)
@click.option("--width", type=click.IntRange(32, 1024), help="Width of the encoder input, in pixels.")
@click.option(
    "--height",
    type=click.IntRange(32, 1024),
    help="Height of the encoder input, in pixels; frames are stretched to it.",
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of the window in seconds.")
@click.option("--frames", type=click.IntRange(2, 256), help="Frames per window.")
@click.option(
    "--sampling", type=click.Choice(["time", "uniform"]),
    help="Sampling of windows: as at run time (default), or one window over the whole clip.",
)  # fmt: skip
@click.option(
    "--grouping", type=click.Choice(["scenes", "numbers", "subject", "clips"]),
    help="Which clips stay in the same fold. scenes (default): the same gNN in the name, else a similar "
    "appearance. numbers: gNN, else blocks of ten numbers. subject: by --subject. clips: none, so "
    "scores are too high for new scenes.",
)  # fmt: skip
@click.option(
    "--subject",
    metavar="PATTERN",
    help=r"Regular expression for the subject in a file name, such as 'person(\d+)'.",
)
@click.option("--folds", type=click.IntRange(2), help="Number of cross-validation folds.")
@click.option(
    "--backbone-weights", default="imagenet", show_default=True, metavar="imagenet|none|FILE",
    help="Initial weights of the MobileNetV2 encoder.",
)  # fmt: skip
def action(
    data: Path,
    out: Path,
    background: tuple[str, ...],
    backbone_weights: str,
    recipe: str | None,
    changes: tuple[str, ...],
    compare: str | None,
    resume: bool,
    **settings: Any,
) -> None:
    """Train an action model on a folder or zip of clips, <class>/<clip>, with cross-validation by group."""
    with needs_extra("train"):
        from edgeharfer.training.action.find import BackgroundSource
        from edgeharfer.training.action.recipe import ActionRecipe
        from edgeharfer.training.action.train import train_action

    wanted = read_options(ActionRecipe, "action", recipe, settings, changes)

    def train_one(one: ActionRecipe, folder: Path) -> None:
        train_action(
            data, folder, one, background=[*map(BackgroundSource.parse, background)],
            backbone_weights=backbone_weights, features=out / "features", resume=resume, report=echo,
        )  # fmt: skip

    if compare is None:
        train_one(wanted, out)
        print_written(out)
    else:
        compare_optimizers(compare, wanted, train_one, out)


@train.command()
@click.option(
    "--true-joints",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="NPZ",
    help="True joints of labelled clips: train_xy, train_frames, train_label, test_...",
)
@click.option(
    "--annotated",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Clips of falls and daily life with annotations, in the layout of GMDCSA24.",
)
@path_option(
    "--background",
    multiple=True,
    metavar="DIR",
    help="Folder of background clips, without any of the actions; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Output folder: model.keras, metrics.json, model card. An interrupted run is resumed from it.",
)
@click.option(
    "--recipe", metavar="NAME|FILE", help="Training recipe in TOML: a shipped name (daily) or a file."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a recipe setting, such as disturbance.jitter=0.05.",
)
@click.option(
    "--arch",
    type=click.Choice([name for name, one in ACTION_NETWORKS.items() if one.build]),
    help="Network that reads the window; default: the recipe's.",
)
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs; default: the recipe's.")
@click.option("--seed", type=click.IntRange(0), help="Random seed; default: the recipe's.")
@provenance_option
def joints(
    true_joints: Path,
    annotated: Path | None,
    background: tuple[Path, ...],
    out: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    **settings: Any,
) -> None:
    """Train an action model on joints: actions from true joints, falls and background from clips."""
    with needs_extra("train"):
        from edgeharfer.training.joints.recipe import JointRecipe
        from edgeharfer.training.joints.run import JointData, train_joints

    wanted = read_options(JointRecipe, "joints", recipe, settings, changes)
    train_joints(JointData(true_joints, annotated, background), out, wanted, report=echo)
    print_written(out)


def print_written(out: Path) -> None:
    """Name the files of a run and the command that makes a package of it."""
    names = ("model.keras", "metrics.json", "report.txt", "curves.png", "confusion.png")
    echo(f"{out}: wrote {', '.join(name for name in names if (out / name).is_file())} and more")
    echo(f"make a package: edgeharfer export {shlex.quote(str(out))} --out {shlex.quote(f'{out}-package')}")


def compare_optimizers(names: str, recipe: Any, train_one: Callable[[Any, Path], object], out: Path) -> None:
    """Train the recipe with each optimizer, at that optimizer's default learning rate."""
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

    compare_runs(wanted, train_with, out, report=echo)


def read_options(
    kind: type[R], task: str, recipe: str | None, settings: Mapping[str, Any], changes: Sequence[str]
) -> R:
    """Build a recipe from its name or file, the options that were given, and `--set`.

    Says so if the model card will name the data of the recipe, which may not be the data of this run.
    """
    from edgeharfer.training.recipe import make_recipe, parse_change

    given = {name: value for name, value in settings.items() if value not in (None, ())}
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    wanted = make_recipe(kind, task, recipe, given, changes)
    stated = "provenance" in given or any("provenance" in parse_change(change) for change in changes)
    if wanted.provenance and not stated:
        echo("the model card will state the recipe's origin of data and weights: --provenance replaces it")
    return wanted

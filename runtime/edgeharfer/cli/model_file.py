"""Options that describe a model file: how it was trained, and what it outputs."""

from __future__ import annotations

from typing import Any

import click

from edgeharfer.cli.options import F, path_option
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import NORMALIZATIONS
from edgeharfer.runtime.tasks import PACKAGE_TASKS

_BARE = ("task", "labels", "normalize", "weights")
_NAMES = ("channels", "mean", "std", "crop", "frames", "seconds", "size", "layout", "head", "output")


def _numbers(value: str) -> tuple[float, ...]:
    """Parse comma-separated numbers."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a comma-separated list of numbers.") from error


def _size(value: str) -> tuple[int, int]:
    """Parse a width and height as in 320x240, or one number for both."""
    width, _, height = value.lower().partition("x")
    if not all(part.isdecimal() and int(part) for part in (width, height or width)):
        raise click.BadParameter(f"{value!r} is not a size such as 224 or 320x240.")
    return int(width), int(height or width)


def model_file_options(command: F) -> F:
    """Add the options that describe a model file."""
    for option in reversed([
        click.option("--task", type=click.Choice(["auto", *PACKAGE_TASKS]), default="auto",
                     show_default=True, help="Task of the model; auto = from its record or its input."),
        path_option("--weights", metavar="FILE",
                    help="HDF5 file of the weights, if MODEL is a .json architecture."),
        path_option("--labels", metavar="FILE",
                    help="Class names in output order: JSON, or text with one per line."),
        click.option("--normalize", type=click.Choice(["auto", *NORMALIZATIONS]), default="auto",
                     show_default=True, help="Input scaling; unit = [0, 1], symmetric = [-1, 1]."),
        click.option("--mean", type=_numbers, metavar="R,G,B",
                     help="Subtracted from each channel after --normalize none or unit."),
        click.option("--std", type=_numbers, metavar="R,G,B", help="Divides each channel after --mean."),
        click.option("--channels", type=click.Choice(["rgb", "bgr", "gray"]),
                     help="Colour order that the model was trained with."),
        click.option("--crop", type=click.Choice(["face", "frame", "center"]),
                     help="Input of the model: faces, whole frames (stretched), or the centre of frames."),
        click.option("--frames", type=click.IntRange(1, 1024), metavar="N", help="Frames per clip."),
        click.option("--seconds", type=click.FloatRange(0, 3600, min_open=True), metavar="S",
                     help="Duration of a clip; default: 2."),
        click.option("--size", type=_size, metavar="WxH", help="Image size, if the model accepts any."),
        click.option("--layout", type=click.Choice(["auto", "nhwc", "nchw"]), default="auto",
                     show_default=True, help="Axis order of the input; nchw = channels first."),
        click.option("--head", type=click.Choice(["auto", "softmax", "sigmoid", "logits"]), default="auto",
                     show_default=True, help="What the outputs are; auto = from the graph."),
        click.option("--output", metavar="NAME", help="Output to use, if the model has several."),
    ]):  # fmt: skip
        command = option(command)
    return command


def model_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `export_model` for the options, and remove them from `options`."""
    from edgeharfer.export import ModelOptions

    given = {name: options.pop(name) for name in _NAMES}
    bare = {name: options.pop(name) for name in _BARE}
    return {**bare, "options": ModelOptions(**{key: one for key, one in given.items() if one is not None})}


def refuse_model_options(package: str, options: dict[str, Any]) -> None:
    """Check that no option describes a model file, because a package describes itself.

    Removes the options.

    Raises:
        ConfigError: One is given.
    """
    for name in (*_BARE, *_NAMES):
        if options.pop(name, None) not in (None, "auto"):
            raise ConfigError(f"{package}: --{name} is recorded in the package: remove the option")

"""`edgeharfer export`: from a Keras model to a model package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.calib.recipes import TARGETS
from edgeharfer.cli.benchmark import benchmark
from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.options import F, path_option
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.tasks import PACKAGE_TASKS

if TYPE_CHECKING:
    from edgeharfer.export import Int8Options


def int8_options(command: F) -> F:
    """How INT8 is made, and what it may lose."""
    for option in reversed([
        click.option("--calibration", type=click.Path(path_type=Path), metavar="DIR|ZIP",
                     help="Real labelled data; INT8 is calibrated on its training split."),
        click.option("--calibration-set", type=click.Path(path_type=Path), metavar="FILE.json",
                     help="Calibrate on the very items that `edgeharfer calibrate` chose."),
        click.option("--eval-data", type=click.Path(path_type=Path), metavar="DIR|ZIP",
                     help="Labelled data that INT8 is judged by; without it nothing guards its accuracy."),
        click.option("--eval-split", metavar="NAME", help="The split of it; the one for testing without."),
        click.option("--ferplus", type=click.Path(path_type=Path), metavar="CSV",
                     help="Label both by the majority of these FER+ votes."),
        click.option("--max-drop", type=click.FloatRange(0, 100), default=1.0, show_default=True,
                     metavar="POINTS", help="What INT8 may lose in top-1; any one class may lose 3."),
        click.option("--int8-for", type=click.Choice(TARGETS), default="cpu", show_default=True,
                     help="What the INT8 graphs are made for."),
        click.option("--keep-slower", is_flag=True,
                     help="Keep INT8 graphs that turn out slower than FP32 here."),
    ]):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@path_option("--out", required=True, metavar="DIR", help="The package's folder.")
@click.option("--task", type=click.Choice(["auto", *PACKAGE_TASKS]), default="auto", show_default=True)
@path_option(
    "--labels", metavar="FILE", help="Class names in the order of the outputs: JSON, or text with one a line."
)
@click.option(
    "--normalize", type=click.Choice(["auto", "none", "unit", "symmetric", "standardize", "imagenet"]),
    default="auto", show_default=True, help="How pictures are scaled; unit is [0, 1], symmetric [-1, 1].",
)  # fmt: skip
@click.option(
    "--precision", default="fp32", show_default=True, metavar="LIST", help="Of fp32, fp16, int8: fp32,int8."
)
@click.option(
    "--half-weights", is_flag=True, help="Store FP32 weights in half the space; they are widened on loading."
)
@click.option("--name", help="Of the package; picks one where a training run holds several.")
@int8_options
@click.option("--benchmark", "measure", is_flag=True, help="Then measure it here, beside the Keras model.")
def export(
    model: Path,
    out: Path,
    task: str,
    labels: Path | None,
    normalize: str,
    precision: str,
    half_weights: bool,
    name: str | None,
    measure: bool,
    **options: Any,
) -> None:
    """Turn MODEL into a model package.

    MODEL is a .keras, .h5 or .hdf5 file, a SavedModel, a training run's folder, or a package that is to
    get INT8 graphs. An action model is split into the encoder of a frame and the head over a window. The
    package appears whole or not at all, with a receipt that says how far it differs from the Keras model.

    \b
    edgeharfer export model.h5 --labels labels.json --normalize unit --out package
    edgeharfer export runs/action --precision fp32,int8 --calibration clips/ --eval-data clips/ --out package
    """
    with needs_extra("export"):
        from edgeharfer.export import export_model, quantize_package

    precisions = [part.strip() for part in precision.split(",")]
    int8 = _int8(options) if "int8" in precisions else None
    if (model / "manifest.json").is_file():
        if int8 is None:
            raise ConfigError(f"{model}: is a package already: --precision fp32,int8 makes INT8 graphs of it")
        quantize_package(model, out, int8, precisions=precisions, report=click.echo)
        if measure:
            click.get_current_context().invoke(benchmark, packages=(str(out),))
        return
    export_model(
        model,
        out,
        task=task,
        labels=labels,
        normalize=normalize,
        precisions=precisions,
        half_weights=half_weights,
        name=name,
        int8=int8,
        report=click.echo,
    )
    if measure:
        measured = {"packages": (str(out),), "against": "keras", "keras_model": model, "name": name}
        click.get_current_context().invoke(benchmark, **measured)


def _int8(options: dict[str, Any]) -> Int8Options:
    """The options of INT8 as one object. Raises ConfigError without data to calibrate on."""
    from edgeharfer.calib.guard import AccuracyLimits
    from edgeharfer.export import Int8Options

    if options["calibration"] is None:
        raise ConfigError("INT8 needs real data to be calibrated on: give --calibration, or leave int8 out")
    return Int8Options(
        options["calibration"],
        options["eval_data"],
        options["eval_split"],
        options["ferplus"],
        options["calibration_set"],
        limits=AccuracyLimits(options["max_drop"]),
        target=options["int8_for"],
        keep_slower=options["keep_slower"],
    )

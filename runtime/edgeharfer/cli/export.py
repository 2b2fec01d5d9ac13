"""`edgeharfer export`: export a model file to a model package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.calib.recipes import TARGETS
from edgeharfer.cli.benchmark import benchmark
from edgeharfer.cli.completion import complete_model
from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.model_file import model_arguments, model_file_options, refuse_model_options
from edgeharfer.cli.options import F, path_option
from edgeharfer.cli.progress import echo
from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.export import Int8Options


def int8_options(command: F) -> F:
    """Add the options for INT8 calibration and its accuracy limits."""
    for option in reversed([
        click.option("--calibration", type=click.Path(path_type=Path), metavar="DIR|ZIP",
                     help="Labelled data; INT8 is calibrated on its training split."),
        click.option("--calibration-set", type=click.Path(path_type=Path), metavar="FILE.json",
                     help="Calibrate on the items chosen by `edgeharfer calibrate`."),
        click.option("--eval-data", type=click.Path(path_type=Path), metavar="DIR|ZIP",
                     help="Labelled data for the INT8 accuracy check; without it INT8 is not checked."),
        click.option("--eval-split", metavar="NAME", help="Split of --eval-data; default: the test split."),
        click.option("--ferplus", type=click.Path(path_type=Path), metavar="CSV",
                     help="FER+ votes; both data sets are labelled by their majority."),
        click.option("--max-drop", type=click.FloatRange(0, 100), default=1.0, show_default=True,
                     metavar="POINTS",
                     help="Maximum loss of top-1 accuracy by INT8, in points; a class may lose up to 3."),
        click.option("--int8-for", type=click.Choice(TARGETS), default="cpu", show_default=True,
                     help="Target of the INT8 graphs."),
        click.option("--keep-slower", is_flag=True,
                     help="Keep INT8 graphs even if they are slower than FP32 on this machine."),
    ]):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("model", type=click.Path(path_type=Path), shell_complete=complete_model)
@path_option("--out", metavar="DIR", help="Output folder of the package.")
@path_option(
    "--triton", metavar="DIR", help="Write the package to a model repository for NVIDIA Triton, too."
)
@model_file_options
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    metavar="LIST",
    help="Comma-separated list of fp32, fp16, int8.",
)
@click.option(
    "--half-weights", is_flag=True, help="Store FP32 weights as FP16; they are converted back when loaded."
)
@click.option("--name", help="Name of the package; selects one if a training run has several.")
@int8_options
@click.option(
    "--benchmark",
    "measure",
    is_flag=True,
    help="Benchmark the package afterwards, against the Keras model if MODEL is one.",
)
def export(
    model: Path,
    out: Path | None,
    triton: Path | None,
    precision: str,
    half_weights: bool,
    name: str | None,
    measure: bool,
    **options: Any,
) -> None:
    """Export a Keras, ONNX or TensorFlow Lite model to a model package.

    MODEL is a .keras, .h5 or .hdf5 file (of Keras 2 too), a .json architecture with --weights, a SavedModel,
    an .onnx or .tflite file, the folder of a training run, or a package to add INT8 graphs to. An action
    model is split into a frame encoder and a head over the window. The package is written completely or not
    at all; its receipt records how much its outputs differ from those of MODEL.

    \b
    edgeharfer export model.h5 --labels labels.json --normalize unit --out package
    edgeharfer export architecture.json --weights model.h5 --labels labels.json --normalize unit --out package
    edgeharfer export classifier.onnx --labels labels.txt --normalize imagenet --out package
    edgeharfer export runs/action --precision fp32,int8 --calibration clips/ --eval-data clips/ --out package
    edgeharfer export package --triton model_repository
    """
    with needs_extra("export"):
        from edgeharfer.export import export_model, quantize_package
        from edgeharfer.export.triton import write_repository

    precisions = [part.strip() for part in precision.split(",")]
    if out is None:
        if triton is None:
            raise click.UsageError("nothing to write; give --out DIR")
        refuse_model_options(str(model), options)
        package = model if model.exists() else str(model)
        write_repository(package, triton, precisions[0], report=echo)
        return
    int8 = _int8(options) if "int8" in precisions else None
    if (model / "manifest.json").is_file():
        refuse_model_options(str(model), options)
        if int8 is None:
            raise ConfigError(f"{model}: is already a package: to add INT8 graphs, use --precision fp32,int8")
        quantize_package(model, out, int8, precisions=precisions, report=echo)
        if triton is not None:
            write_repository(out, triton, precisions[0], report=echo)
        if measure:
            click.get_current_context().invoke(benchmark, packages=(str(out),))
        return
    arguments = model_arguments(options)
    export_model(
        model,
        out,
        **arguments,
        precisions=precisions,
        half_weights=half_weights,
        name=name,
        int8=int8,
        report=echo,
    )
    if triton is not None:
        write_repository(out, triton, precisions[0], report=echo)
    if measure:
        alone = arguments["weights"] is None and model.suffix.lower() not in (".onnx", ".tflite")
        peer = {"against": "keras", "keras_model": model, "name": name} if alone else {}
        measured = {"packages": (str(out),), **peer}
        click.get_current_context().invoke(benchmark, **measured)


def _int8(options: dict[str, Any]) -> Int8Options:
    """Convert the INT8 options to an object.

    Raises:
        ConfigError: There is no calibration data.
    """
    from edgeharfer.calib.guard import AccuracyLimits
    from edgeharfer.export import Int8Options

    if options["calibration"] is None:
        raise ConfigError(
            "INT8 requires calibration data: pass --calibration, or remove int8 from --precision"
        )
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

"""Options of `edgeharfer benchmark`, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.packages import is_model_file
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError, SourceError
from edgeharfer.runtime.inference.backend import AUTO
from edgeharfer.runtime.inference.manifest import PRECISIONS
from edgeharfer.runtime.inference.providers import provider_choices

if TYPE_CHECKING:
    from edgeharfer.benchmark.compare import BenchmarkSubject
    from edgeharfer.runtime.inference.package import Package

MAX_COUNT = 256
_NEED_KERAS = ("keras", "litert")


def check_options(packages: Sequence[str], options: dict[str, Any]) -> None:
    """Parse lists, and reject invalid options, missing models and files that cannot be written.

    Args:
        packages: The PACKAGE arguments.
        options: The options; `against` is parsed to `peers`, and lists to lists.

    Raises:
        click.UsageError: The options cannot be combined, or a value is invalid.
        ConfigError, ModelError, SourceError, MissingExtra: Something that they name is missing.
    """
    from edgeharfer.benchmark.peers import check_installed, parse_peers
    from edgeharfer.benchmark.plot import check_plot, check_writable

    _check_combinations(packages, options)
    options["threads"] = counts(options["threads"], "--threads")
    options["batches"] = counts(options["batches"], "--batch")
    options["providers"] = choices(options["providers"], provider_choices()[1:], AUTO, "--provider")
    options["precisions"] = choices(options["precisions"], PRECISIONS, "all", "--precision")
    options["peers"] = parse_peers(options["against"])
    if options["json_file"] is not None:
        check_writable(options["json_file"], "--json")
    if options["plot_file"] is not None:
        check_plot(options["plot_file"])
    if options["profile"] is not None:
        _check_trace_folder(options["profile"])
    for name in packages:
        _check_exists(name)
    if options["source"] is not None:
        _check_video(options["source"])
    check_installed(options["peers"])


def _check_combinations(packages: Sequence[str], options: dict[str, Any]) -> None:
    if options["end_to_end"] != (options["source"] is not None):
        raise click.UsageError("--end-to-end and --source FILE require each other")
    for name in ("faces", "minutes", "agreement"):
        if options[name] and not options["end_to_end"]:
            raise click.UsageError(f"--{name} requires --end-to-end")
    if options["keras_model"] is not None and len(packages) != 1:
        raise click.UsageError("--keras-model requires exactly one PACKAGE")
    if options["streams"] > 1 and options["against"]:
        raise click.UsageError("--streams measures ONNX Runtime alone: remove --against")


def _check_trace_folder(folder: Path) -> None:
    from edgeharfer.benchmark.plot import check_writable

    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--profile {folder}: is a file: pass a folder")
    check_writable(folder / "trace.json" if folder.is_dir() else folder, "--profile")


def _check_exists(name: str) -> None:
    """Find a package, without loading its graphs, or a Keras model."""
    from edgeharfer.runtime.inference.package import load_package

    if not is_model_file(Path(name)):
        load_package(name)
    elif not Path(name).exists():
        raise ModelError(
            f"{name}: no such model: pass a model file, the folder of a training run or a package"
        )


def _check_video(spec: str) -> None:
    from edgeharfer.benchmark.video import LoopedVideo
    from edgeharfer.runtime.clock import SystemClock

    LoopedVideo(spec, SystemClock()).close()


def check_subjects(subjects: Sequence[BenchmarkSubject], options: dict[str, Any]) -> None:
    """Reject peers and data that fit none of the packages.

    Raises:
        ConfigError: A peer needs a Keras model, and no package has one.
        SourceError: The data has no class of any package.
    """
    needy = [peer for peer in options["peers"] if peer in _NEED_KERAS]
    if needy and not options["end_to_end"] and all(subject.keras is None for subject in subjects):
        raise ConfigError(
            f"--against {needy[0]}: requires the Keras model of the package: pass its file as --keras-model"
        )
    if options["data"] is not None:
        _check_data([subject.package for subject in subjects], options["data"])


def _check_data(packages: Sequence[Package], data: Path) -> None:
    problems = [problem for package in packages if (problem := _data_problem(package, data)) is not None]
    if len(problems) == len(packages):
        raise SourceError(problems[0])


def _data_problem(package: Package, data: Path) -> str | None:
    """Why labelled data does not fit a package, or None if it does."""
    from edgeharfer.evaluate.dataset import CLIPS, Dataset, match_labels

    manifest = package.manifest
    if not manifest.labels or manifest.kind == "frame":
        return f"--data: {manifest.name} is not a classifier of faces or clips"
    try:
        found = Dataset(data, CLIPS) if manifest.kind == "clip" else Dataset(data)
        pairs, others = match_labels(found.split(None), manifest.labels)
    except EdgeharferError as error:
        return str(error)
    if pairs:
        return None
    return (
        f"{data}: none of its classes ({', '.join(list(others)[:5])}) is a class of {manifest.name} "
        f"({', '.join(manifest.labels[:5])}, …)"
    )


def counts(text: str, option: str) -> list[int]:
    """Parse a comma-separated list of numbers such as "1,2"."""
    parts = [part.strip() for part in str(text).split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MAX_COUNT for part in parts):
        raise click.BadParameter(
            f"{text!r} is not a comma-separated list of numbers from 1 to {MAX_COUNT}", param_hint=option
        )
    return list(dict.fromkeys(map(int, parts)))


def choices(text: str, known: Sequence[str], everything: str, option: str) -> list[str] | None:
    """Parse a comma-separated list of names such as "cpu,cuda"; None for `everything`."""
    parts = [part.strip() for part in text.split(",")]
    if parts == [everything]:
        return None
    for part in parts:
        if part not in known:
            raise click.BadParameter(
                f"{part!r}: choose from {everything}, {', '.join(known)}", param_hint=option
            )
    return list(dict.fromkeys(parts))

"""`edgeharfer evaluate`: accuracy of what would be deployed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.options import chosen_backend, provider_options
from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package


@click.command()
@click.argument("package")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|ZIP",
    help="<class>/<file>, or <split>/<class>/<file>.",
)
@click.option("--split", help="The split to measure; without it the one for testing.")
@click.option(
    "--ferplus",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Label by the majority of these FER+ votes, joined by file name.",
)
@click.option(
    "--prior",
    type=click.Choice(["package", "data", "balanced", "uniform"]),
    default="package",
    show_default=True,
    help="Class shares that the emotions assume.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures."
)
@provider_options
def evaluate(package: str, data: Path, json_file: Path | None, **options: Any) -> None:
    """Measure the accuracy of a PACKAGE, or of a Keras model as it would be exported.

    \b
    edgeharfer evaluate emotion-fer8 --data fer2013.zip --ferplus fer2013new.csv
    edgeharfer evaluate action-ucf20 --data clips/
    """
    with opened(package) as found:
        figures = measure_accuracy(found, data, options)
    click.echo(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def opened(package: str) -> AbstractContextManager[Package]:
    """The package, or a Keras model exported for the occasion and forgotten afterwards."""
    from edgeharfer.runtime.inference.package import load_package

    path = Path(package)
    is_model = path.suffix in (".keras", ".h5", ".hdf5") or (path / "model.keras").is_file()
    if not is_model:
        return nullcontext(load_package(package))
    from edgeharfer.cli.export import exported_for_now

    return exported_for_now(path)


def measure_accuracy(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Figures of a package that gives classes. Raises ConfigError for any other."""
    manifest = package.manifest
    if not manifest.labels or manifest.kind == "frame":
        raise ConfigError(
            f"{package.path}: only classes of faces and clips can be evaluated on labelled data"
        )
    measure = measure_clips if manifest.kind == "clip" else measure_faces
    return measure(package, data, options)


def measure_faces(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Figures of a package that reads faces."""
    from edgeharfer.evaluate.dataset import Dataset
    from edgeharfer.evaluate.emotion import evaluate_emotion
    from edgeharfer.evaluate.ferplus import read_votes
    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE
    from edgeharfer.runtime.inference.backend import Backend
    from edgeharfer.runtime.tasks.emotion import EmotionModel

    model = EmotionModel(package, chosen_backend(options), prior=options["prior"])
    detector = make_detector(
        "blazeface", Backend("cpu", threads=options["threads"]), min_score=MIN_PORTRAIT_SCORE
    )
    votes = read_votes(options["ferplus"]) if options["ferplus"] else None
    with progress_bar() as progress:
        return evaluate_emotion(
            model, Dataset(data), detector, split=options["split"], votes=votes, progress=progress
        )


def measure_clips(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Figures of a package that reads clips."""
    from edgeharfer.evaluate.action import evaluate_action
    from edgeharfer.evaluate.dataset import CLIPS, Dataset

    clips = Dataset(data, CLIPS)
    with progress_bar() as progress:
        return evaluate_action(
            package, clips, clips.split(options["split"]), chosen_backend(options), progress=progress
        )


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """What tells progress on a terminal's standard error, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, file=sys.stderr) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield tell


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{'class':18} {'n':>6} {'precision':>10} {'recall':>8} {'f1':>8}"]
    lines += [
        f"{label:18} {row['support']:6} {row['precision']:10.3f} {row['recall']:8.3f} {row['f1']:8.3f}"
        for label, row in figures["per_class"].items()
    ]
    known = ("n", "top1", "window_top1", "top3", "macro_f1", "weighted_f1")
    shown = [(key, figures[key]) for key in known if key in figures]
    lines.append(
        "  ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown
        )
    )
    if left_out := figures.get("left_out"):
        lines.append("left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items()))
    return "\n".join(lines)

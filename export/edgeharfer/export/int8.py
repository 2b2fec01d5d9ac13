"""INT8 graphs for a package with FP32 graphs, added if they pass the accuracy guard."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeharfer.calib import open_calibration_source
from edgeharfer.calib.calibration_set import DEFAULT_ITEMS, read_calibration_set
from edgeharfer.calib.data import CalibrationData, floats
from edgeharfer.calib.guard import AccuracyLimits
from edgeharfer.calib.quantize import Quantization, Quantized
from edgeharfer.calib.recipes import Target
from edgeharfer.evaluate.golden import write_golden
from edgeharfer.export import parity
from edgeharfer.export.card import with_int8
from edgeharfer.export.package_files import (
    RECEIPT,
    check_output_folder,
    file_name,
    file_spec,
    graph_facts,
    read_receipt,
    write_metadata,
)
from edgeharfer.export.source import CARD
from edgeharfer.export.tensorrt import add_tensorrt
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI, FACES, FileSpec, Manifest
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.staging import replaced_folder
from edgeharfer.runtime.types import Floats

PARITY_PICTURES = 32
PARITY_CLIPS = 8

Report = Callable[[str], object]


@dataclass(frozen=True)
class Int8Options:
    """How INT8 graphs are made.

    Attributes:
        calibration: Labelled pictures or clips, of which the training split is used.
        eval_data: Labelled data for the accuracy guard. Without it there is no guard, and INT8 is never used
            by default.
        eval_split: Split of `eval_data`; None takes the test split. The training split also shows what INT8
            changes, and has more pictures of rare classes.
        ferplus: FER+ votes that label both data sets.
        calibration_set: File with the exact items to calibrate on.
        items: Minimum number of items otherwise, if there are that many.
        seed: Seed of their selection.
        limits: Accepted losses of accuracy.
        target: What the graphs are made for.
        keep_slower: Keep INT8 graphs that are slower than FP32.
    """

    calibration: Path
    eval_data: Path | None = None
    eval_split: str | None = None
    ferplus: Path | None = None
    calibration_set: Path | None = None
    items: int = DEFAULT_ITEMS
    seed: int = 1
    limits: AccuracyLimits = field(default_factory=AccuracyLimits)
    target: Target = "cpu"
    keep_slower: bool = False

    def read(self, manifest: Manifest) -> CalibrationData:
        """Read the calibration data for a model with this manifest."""
        material = open_calibration_source(manifest, self.calibration, self.ferplus)
        if self.calibration_set is not None:
            return material.stored_calibration(read_calibration_set(self.calibration_set))
        return material.calibration(self.items, self.seed)


def real_inputs(calibration: CalibrationData, manifest: Manifest) -> Floats:
    """Return some of the calibration set as input of the whole model: pictures, or whole clips, float32."""
    if calibration.windows is not None:
        return floats(calibration.windows[:PARITY_CLIPS], manifest)
    step = max(1, len(calibration.pictures) // PARITY_PICTURES)
    return floats(calibration.pictures[::step][:PARITY_PICTURES], manifest)


def quantize_package(
    package: Path | str,
    out: Path,
    int8: Int8Options,
    *,
    precisions: Sequence[str] = ("fp32", "int8"),
    report: Report = lambda line: None,
) -> Package:
    """Write a copy of a package with INT8 graphs to the folder `out`, which may be the package itself.

    Args:
        package: Folder or name of a package with FP32 graphs.
        out: Folder of the result. It appears complete or not at all.
        int8: How INT8 graphs are made.
        precisions: Precisions of the result, including "int8".
        report: Called with a line for each step.

    Raises:
        ModelError: INT8 is refused by the accuracy guard.
        ConfigError: The options do not fit the package.
    """
    check_output_folder(out)
    source = load_package(package)
    if unknown := sorted(set(precisions) - set(source.manifest.files) - {"int8"}):
        raise ConfigError(f"{source.path}: has no {unknown[0]} graphs: export its model again")
    if source.manifest.task == FACES or not source.manifest.labels:
        what = "a face detector" if source.manifest.task == FACES else "a package with values"
        raise ConfigError(
            f"{source.path}: INT8 needs classes for its accuracy guard, and {what} has none: "
            "remove int8 from --precision"
        )
    report(f"reading calibration data from {int8.calibration}")
    calibration = int8.read(source.manifest)
    with replaced_folder(out) as folder:
        _copy(source, folder)
        add_int8(folder, calibration, int8, precisions, report=report)
        if int8.target == "cpu":
            add_tensorrt(folder, real_inputs(calibration, source.manifest), report)
        write_golden(load_package(folder))
    report(f"wrote {out}")
    return load_package(out)


def add_int8(
    folder: Path,
    calibration: CalibrationData,
    int8: Int8Options,
    precisions: Sequence[str],
    *,
    keras: tuple[Floats, Floats] | None = None,
    report: Report = lambda line: None,
) -> None:
    """Quantize the package in `folder` in place.

    Args:
        folder: A package with FP32 graphs.
        calibration: Data to calibrate on.
        int8: How INT8 graphs are made.
        precisions: Precisions that the package keeps.
        keras: Inputs and Keras's scores of them, for the parity figures; None compares with FP32.
        report: Called with a line for each step.
    """
    package = load_package(folder)
    made = _quantize(package, calibration, int8, report)
    keep = made.is_faster or int8.keep_slower or set(precisions) == {"int8"}
    receipt = read_receipt(folder)
    split = {"eval_split": int8.eval_split} if int8.eval_split is not None else {}
    receipt["int8"] = {**made.facts, **split, "kept": keep}
    receipt["parity"] = {**_part(receipt, "parity"), **_parity(package, made, calibration, keras)}
    files = {key: dict(roles) for key, roles in package.manifest.files.items() if key in precisions}
    if keep:
        files["int8"] = _write_graphs(package, made)
    else:
        report("int8: slower than FP32 on this machine, so not added (--keep-slower adds it)")
    auto = {key: one for key, one in made.fastest.items() if one in files} if keep else {"cpu": "fp32"}
    others = {key: one for key, one in package.manifest.auto.items() if key != CPU_WITHOUT_VNNI}
    manifest = replace(package.manifest, files=files, auto={**others, **auto})
    manifest = replace(
        manifest, auto={key: one if one in files else next(iter(files)) for key, one in manifest.auto.items()}
    )
    _drop_unused(folder, manifest)
    written = Package(folder, manifest)
    receipt["files"] = {
        spec.file: graph_facts(written.read(role, precision))
        for precision, roles in manifest.files.items()
        for role, spec in roles.items()
    }
    card = (folder / CARD).read_text(encoding="utf-8")
    write_metadata(folder, manifest, receipt, with_int8(card, manifest, made.facts, kept=keep))


def _quantize(package: Package, calibration: CalibrationData, int8: Int8Options, report: Report) -> Quantized:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        evaluation = None
        if int8.eval_data is not None:
            report(f"reading evaluation data from {int8.eval_data}")
            material = open_calibration_source(package.manifest, int8.eval_data, int8.ferplus)
            evaluation = material.evaluation(Path(scratch), int8.eval_split)
        else:
            report("int8: no --eval-data, so accuracy is not checked and INT8 is not used by default")
        return Quantization(package, calibration, evaluation, int8.limits, int8.target, report).run()


def _parity(
    package: Package,
    made: Quantized,
    calibration: CalibrationData,
    keras: tuple[Floats, Floats] | None,
) -> dict[str, object]:
    """Compare INT8 with Keras, or with FP32 if Keras's scores are not given."""
    manifest = package.manifest
    if keras is not None:
        key, (inputs, expected) = "int8", keras
    else:
        key, inputs = "int8_vs_fp32", real_inputs(calibration, manifest)
        expected = parity.onnx_scores({role: package.read(role) for role in manifest.roles}, inputs)
    scores = parity.onnx_scores(made.models, inputs)
    agreement = _part(_part(read_receipt(package.path), "parity"), "top1_agreement")
    return {
        key: parity.difference(scores, expected, manifest.output),
        "top1_agreement": {**agreement, key: parity.agreement(scores, expected)},
    }


def _write_graphs(package: Package, made: Quantized) -> dict[str, FileSpec]:
    specs = {}
    for role, graph in made.models.items():
        if role in made.floats:
            specs[role] = package.spec(role, "fp32")
            continue
        (package.path / file_name(role, "int8")).write_bytes(graph.data)
        specs[role] = file_spec(role, "int8", graph)
    return specs


def _copy(source: Package, folder: Path) -> None:
    """Copy the graphs, whose hashes are checked, and the metadata files."""
    for precision, roles in source.manifest.files.items():
        for role, spec in roles.items():
            (folder / spec.file).write_bytes(source.read(role, precision).data)
    for name in (RECEIPT, CARD):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, folder / name)
    shutil.copyfile(source.path / "manifest.json", folder / "manifest.json")
    if not (folder / CARD).exists():
        (folder / CARD).write_text(f"# {source.manifest.name}\n", encoding="utf-8")


def _part(facts: Mapping[str, object], key: str) -> dict[str, object]:
    part = facts.get(key)
    return dict(part) if isinstance(part, dict) else {}


def _specs(manifest: Manifest) -> list[FileSpec]:
    return list({spec.file: spec for roles in manifest.files.values() for spec in roles.values()}.values())


def _drop_unused(folder: Path, manifest: Manifest) -> None:
    """Remove the graphs that the manifest does not list."""
    used = {spec.file for spec in _specs(manifest)}
    for path in folder.glob("*.onnx"):
        if path.name not in used:
            path.unlink()

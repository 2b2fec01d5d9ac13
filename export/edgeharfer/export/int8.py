"""INT8 graphs for a package that holds FP32 ones: beside them, or refused by the accuracy guard."""

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
    write_metadata,
)
from edgeharfer.export.source import CARD
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.manifest import FACES, FileSpec, Manifest
from edgeharfer.runtime.inference.package import Package, load_package, read_regular
from edgeharfer.runtime.staging import replaced_folder
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.types import Floats

PARITY_PICTURES = 32
PARITY_CLIPS = 8
_MAX_TEXT_BYTES = 4 * 1024 * 1024

Report = Callable[[str], object]


@dataclass(frozen=True)
class Int8Options:
    """How a package gets its INT8 graphs.

    calibration: labelled pictures or clips, of which the training split is used, at least `items` of them
    where there are as many; or exactly those of `calibration_set`. eval_data: what the accuracy guard
    judges by; without it nothing is guarded, and INT8 is never chosen by itself. eval_split: of it, None
    is the one for testing; what a model was trained on tells what INT8 changes as well, and has more
    pictures of a rare class.
    ferplus: FER+ votes that label both. target: what the graphs are for. keep_slower: keep INT8 graphs
    that turn out slower than FP32.
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
        """The calibration set of a model with this manifest."""
        material = open_calibration_source(manifest, self.calibration, self.ferplus)
        if self.calibration_set is not None:
            return material.stored_calibration(read_calibration_set(self.calibration_set))
        return material.calibration(self.items, self.seed)


def real_inputs(calibration: CalibrationData, manifest: Manifest) -> Floats:
    """Some of the calibration set as the whole model takes it: pictures, or whole clips."""
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
    """A copy of a package with INT8 graphs, written to the folder `out`, which may be the package itself.

    precisions: those that the result holds, "int8" among them. Raises ModelError where INT8 is refused,
    ConfigError for options that do not fit. Nothing is left half-written.
    """
    check_output_folder(out)
    source = load_package(package)
    if unknown := sorted(set(precisions) - set(source.manifest.files) - {"int8"}):
        raise ConfigError(f"{source.path}: holds no {unknown[0]}: export its Keras model again")
    if source.manifest.task == FACES or not source.manifest.labels:
        what = "a face detector" if source.manifest.task == FACES else "a package with values"
        raise ConfigError(f"{source.path}: {what} has no classes to guard: INT8 is not made of it")
    report(f"reading {int8.calibration}")
    calibration = int8.read(source.manifest)
    with replaced_folder(out) as folder:
        _copy(source, folder)
        add_int8(folder, calibration, int8, precisions, report=report)
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
    """Quantize the package in `folder`, in place.

    keras: inputs and Keras's scores for them, for the parity figures; without them FP32 stands in.
    """
    package = load_package(folder)
    made = _quantize(package, calibration, int8, report)
    keep = made.is_faster or int8.keep_slower or set(precisions) == {"int8"}
    receipt = _read_receipt(folder)
    split = {"eval_split": int8.eval_split} if int8.eval_split is not None else {}
    receipt["int8"] = {**made.facts, **split, "kept": keep}
    receipt["parity"] = {**_part(receipt, "parity"), **_parity(package, made, calibration, keras)}
    files = {key: dict(roles) for key, roles in package.manifest.files.items() if key in precisions}
    if keep:
        files["int8"] = _write_graphs(package, made)
    else:
        report("int8: slower than FP32 here, so it is left out (--keep-slower keeps it)")
    auto = {key: one for key, one in made.fastest.items() if one in files} if keep else {"cpu": "fp32"}
    manifest = replace(package.manifest, files=files, auto={**package.manifest.auto, **auto})
    manifest = replace(
        manifest, auto={key: one if one in files else next(iter(files)) for key, one in manifest.auto.items()}
    )
    _drop_unused(folder, manifest)
    made_in = Package(folder, manifest)
    receipt["files"] = {
        spec.file: graph_facts(made_in.read(role, precision))
        for precision, roles in manifest.files.items()
        for role, spec in roles.items()
    }
    card = (folder / CARD).read_text(encoding="utf-8")
    write_metadata(folder, manifest, receipt, with_int8(card, manifest, made.facts, kept=keep))


def _quantize(package: Package, calibration: CalibrationData, int8: Int8Options, report: Report) -> Quantized:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        evaluation = None
        if int8.eval_data is not None:
            report(f"reading {int8.eval_data}")
            material = open_calibration_source(package.manifest, int8.eval_data, int8.ferplus)
            evaluation = material.evaluation(Path(scratch), int8.eval_split)
        else:
            report("int8: without --eval-data nothing guards its accuracy, and it is not chosen by itself")
        return Quantization(package, calibration, evaluation, int8.limits, int8.target, report).run()


def _parity(
    package: Package,
    made: Quantized,
    calibration: CalibrationData,
    keras: tuple[Floats, Floats] | None,
) -> dict[str, object]:
    """INT8 against Keras, or against FP32 where Keras is not at hand."""
    manifest = package.manifest
    if keras is not None:
        key, (inputs, wanted) = "int8", keras
    else:
        key, inputs = "int8_vs_fp32", real_inputs(calibration, manifest)
        wanted = parity.onnx_scores({role: package.read(role) for role in manifest.roles}, inputs)
    given = parity.onnx_scores(made.models, inputs)
    agreement = _part(_part(_read_receipt(package.path), "parity"), "top1_agreement")
    return {
        key: parity.difference(given, wanted, manifest.output),
        "top1_agreement": {**agreement, key: parity.agreement(given, wanted)},
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
    """Graphs after a check of their hashes, and the papers."""
    for precision, roles in source.manifest.files.items():
        for role, spec in roles.items():
            (folder / spec.file).write_bytes(source.read(role, precision).data)
    for name in (RECEIPT, CARD):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, folder / name)
    shutil.copyfile(source.path / "manifest.json", folder / "manifest.json")
    if not (folder / CARD).exists():
        (folder / CARD).write_text(f"# {source.manifest.name}\n", encoding="utf-8")


def _read_receipt(folder: Path) -> dict[str, object]:
    if not (folder / RECEIPT).exists():
        return {}
    data = load_json(read_regular(folder / RECEIPT, _MAX_TEXT_BYTES), str(folder / RECEIPT))
    if not isinstance(data, dict):
        raise ModelError(f"{folder / RECEIPT}: must be an object")
    return data


def _part(facts: Mapping[str, object], key: str) -> dict[str, object]:
    part = facts.get(key)
    return dict(part) if isinstance(part, dict) else {}


def _specs(manifest: Manifest) -> list[FileSpec]:
    return list({spec.file: spec for roles in manifest.files.values() for spec in roles.values()}.values())


def _drop_unused(folder: Path, manifest: Manifest) -> None:
    """Graphs of precisions that the package is not to hold."""
    used = {spec.file for spec in _specs(manifest)}
    for path in folder.glob("*.onnx"):
        if path.name not in used:
            path.unlink()

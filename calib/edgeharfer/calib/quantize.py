"""Search for an INT8 form of a package: recipes are tried in turn until one passes the accuracy guard.

Convolutional graphs are quantized statically. Recurrent heads get dynamic INT8 if it is measured to be
faster, and stay in floats otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from edgeharfer.calib import tools
from edgeharfer.calib.data import BATCH, CalibrationData, EvaluationData, batches, floats
from edgeharfer.calib.graphs import CONVOLUTIONS, RECURRENT, WEIGHTED, StaticQuantizer, dynamic_int8
from edgeharfer.calib.guard import AccuracyFigures, AccuracyLimits, AccuracyLoss, accuracy_loss
from edgeharfer.calib.latency import THREAD_TIME, WALL_TIME, median_ms
from edgeharfer.calib.recipes import CALIBRATORS, EXCLUSIONS, Recipe, Target
from edgeharfer.calib.scoring import Models, Scorer, layer_errors, output_error, run_pictures
from edgeharfer.calib.weights import Weights
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.processor import instruction_set
from edgeharfer.runtime.inference.providers import available_providers
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.types import Floats
from edgeharfer.runtime.versions import all_installed

MIN_GAIN = 1.05
"""Minimum speed-up for which INT8 is preferred; measured twice, the same graphs differ by up to 1.03."""
START_GAIN = 1.03
"""The same for first layers in floats, which cost no accuracy, and between two numbers of them."""
MAX_START = 4
"""Maximum number of first layers that are left in floats."""
LAYER_ERROR_ITEMS = 32
"""Number of evaluation items on which the errors of layers are measured."""
MAX_ERROR_RATIO = 2.0
"""Largest ratio of the squared output errors of exact and of full-range weights for which the exact ones are
chosen. Above it, processors on which full-range weights saturate use FP32."""
SMALL_ERROR = 0.002
"""Squared output error (a cosine of 0.999) up to which exact weights are chosen in any case."""
WEIGHTS_ITEMS = 32
"""Number of calibration items on which these errors are measured."""

Report = Callable[[str], object]


@dataclass(frozen=True)
class RecipeTrial:
    """A recipe and the accuracy that it lost; `loss` is None without evaluation data."""

    recipe: Recipe
    loss: AccuracyLoss | None

    def __str__(self) -> str:
        if self.loss is None:
            return f"{self.recipe}: not measured"
        label, lost = self.loss.worst
        top1 = f"top-1 {_points(-self.loss.top1):+.2f}"
        if self.loss.window_top1 != self.loss.top1:
            top1 += f", windows {_points(-self.loss.window_top1):+.2f}"
        return f"{self.recipe}: {top1}, {label} {_points(-lost):+.2f} points"


@dataclass(frozen=True, eq=False)
class Quantized:
    """INT8 graphs of a package.

    Attributes:
        models: Graphs by role.
        floats: Roles whose graph is the FP32 one.
        is_faster: Whether INT8 takes less processor time, or its target is not the CPU.
        fastest: Provider to the precision to use; empty if the target is not the CPU, where `tune` decides.
        facts: Entries of the receipt.
    """

    models: Models
    floats: frozenset[str]
    is_faster: bool
    fastest: Mapping[str, str]
    facts: Mapping[str, object]


@dataclass(eq=False)
class Quantization:
    """Quantization of one package.

    Attributes:
        package: A package with FP32 graphs.
        calibration: Data for the ranges.
        evaluation: Data for the accuracy guard; without it the first recipe is accepted.
        limits: Accepted losses.
        target: What the INT8 graphs are made for.
        report: Called with a line for each step.

    Raises:
        ModelError: The package has no FP32 graphs, or none that can be quantized.
    """

    package: Package
    calibration: CalibrationData
    evaluation: EvaluationData | None
    limits: AccuracyLimits = field(default_factory=AccuracyLimits)
    target: Target = "cpu"
    report: Report = lambda line: None

    def __post_init__(self) -> None:
        manifest = self.package.manifest
        if "fp32" not in manifest.files:
            raise ModelError(f"{manifest.name} has no FP32 graphs to quantize: export it again")
        self.originals: Models = {role: self.package.read(role) for role in manifest.roles}
        self._scorer = Scorer(manifest, self.evaluation) if self.evaluation is not None else None
        self._trials: list[RecipeTrial] = []
        self._static = {role: self._quantizer(role) for role in self._convolutional()}

    @property
    def manifest(self) -> Manifest:
        """Manifest of the package."""
        return self.package.manifest

    def run(self) -> Quantized:
        """Return the graphs of the first recipe that passes the guard.

        Raises:
            ModelError: No recipe does; the message lists what was tried.
        """
        reference = self._scorer.figures(self.originals) if self._scorer else None
        self._weights, errors = self._choose_weights()
        self._first = self._float_start()
        recipe, models = self._search(reference)
        models = self._with_dynamic_heads(models, reference)
        unchanged = frozenset(role for role in models if models[role] == self.originals[role])
        loss = self._accuracy_loss(models, reference)
        times = self._times(models)
        fastest = self._fastest(times.get("cpu"), loss)
        is_faster = "cpu" not in times or _faster(times["cpu"]["int8"], times["cpu"]["fp32"])
        facts = {
            "target": self.target,
            "recipe": str(recipe),
            "weights": recipe.weights,
            "output_error": errors,
            "instruction_set": instruction_set(),
            "in_floats": [f"{role}: {layer}" for role, layer in recipe.in_floats],
            "heads": {role: self._kind(role, models) for role in models},
            "calibration": self._about_calibration(),
            "guard": self._about_guard(reference, loss),
            "tried": [str(trial) for trial in self._trials],
            "bytes": {
                name: sum(len(graph.data) for graph in graphs.values())
                for name, graphs in (("fp32", self.originals), ("int8", models))
            },
            "latency_ms": times,
            "latency_clock": (THREAD_TIME if self.target == "cpu" else WALL_TIME).name,
            "chosen_by": f"processor time, at least {MIN_GAIN} x" if fastest else "nothing: run tune",
            "tools": all_installed(tools.TOOLS),
        }
        return Quantized(models, unchanged, is_faster, fastest, facts)

    # The search

    def _choose_weights(self) -> tuple[Weights, dict[str, float]]:
        """Choose exact weights unless they lose much of the accuracy of full-range ones.

        Returns:
            The choice, and the squared output error of both relative to that of FP32.
        """
        if self.target != "cpu":
            return "full", {}
        kinds: tuple[Weights, ...] = ("exact", "full")
        errors = {kind: self._weights_error(Recipe(CALIBRATORS[0], weights=kind)) for kind in kinds}
        described = ", ".join(f"{error:.2g} with {kind} weights" for kind, error in errors.items())
        self.report(f"int8 weights: squared output error {described}")
        chosen: Weights = (
            "exact" if errors["exact"] <= max(SMALL_ERROR, MAX_ERROR_RATIO * errors["full"]) else "full"
        )
        return chosen, {kind: float(f"{error:.3g}") for kind, error in errors.items()}

    def _weights_error(self, recipe: Recipe) -> float:
        """Return the sum of the errors of all static graphs on a part of the calibration set."""
        total = 0.0
        for role, quantizer in self._static.items():
            count = len(self.calibration.pictures) // BATCH if role != "head" else WEIGHTS_ITEMS
            some = list(islice(self._inputs(role), 0, None, max(1, count * BATCH // WEIGHTS_ITEMS)))
            graphs = [make_session(graph) for graph in (quantizer.original, quantizer.quantized(recipe))]
            wanted, given = (np.concatenate([one.run1(feed) for feed in some]) for one in graphs)
            total += output_error(given, wanted)
        return total

    def _search(self, reference: AccuracyFigures | None) -> tuple[Recipe, Models]:
        for recipe in self._recipes():
            models = {**self.originals, **{role: one.quantized(recipe) for role, one in self._static.items()}}
            trial = RecipeTrial(recipe, self._accuracy_loss(models, reference))
            self._trials.append(trial)
            self.report(f"int8, {trial}")
            if trial.loss is None or trial.loss.within:
                return recipe, models
        tried = "; ".join(str(trial) for trial in self._trials)
        raise ModelError(
            f"{self.manifest.name}: INT8 is rejected: no recipe loses at most {self.limits.top1:g} points of "
            f"top-1 and {self.limits.worst_class:g} of each class; tried {tried}: "
            "use other --calibration data, or remove int8 from --precision"
        )

    def _recipes(self) -> Iterator[Recipe]:
        """All calibrators, then the best of them with an increasing number of sensitive layers in floats."""
        for calibrator in CALIBRATORS:
            yield Recipe(calibrator, self.target, self._weights, self._first)
        best = min(self._trials, key=_loss).recipe
        worst_first = self._most_sensitive(best)
        for number in EXCLUSIONS:
            if number <= len(worst_first) // 3:
                yield best.without(worst_first[:number])

    def _most_sensitive(self, recipe: Recipe) -> list[tuple[str, str]]:
        self.report("int8: looking for the most sensitive layers")
        found = [
            (error, role, layer)
            for role, quantizer in self._static.items()
            for layer, error in layer_errors(quantizer, recipe, self._runner(role))
        ]
        return [(role, layer) for _, role, layer in sorted(found, reverse=True)]

    def _runner(self, role: str) -> Callable[[Graph], Floats]:
        """Return a function that runs a graph on a few items of the evaluation data."""
        assert self.evaluation is not None, "without it the first recipe is taken"
        data, windows = self.evaluation, self.evaluation.windows
        if role != "head":
            some = data.pictures[:: max(1, len(data.pictures) // LAYER_ERROR_ITEMS)][:LAYER_ERROR_ITEMS]
            return lambda graph: run_pictures(graph, some, self.manifest)
        assert windows is not None, "only clips have a head"
        rows = windows[:: max(1, len(windows) // LAYER_ERROR_ITEMS)][:LAYER_ERROR_ITEMS]
        features = run_pictures(self.originals["encoder"], data.pictures[rows.ravel()], self.manifest)
        feed = features.reshape(*rows.shape, -1)
        return lambda graph: make_session(graph).run1(feed)

    def _accuracy_loss(self, models: Models, reference: AccuracyFigures | None) -> AccuracyLoss | None:
        if self._scorer is None or reference is None:
            return None
        return accuracy_loss(reference, self._scorer.figures(models), self.limits)

    def _is_accurate(self, models: Models, reference: AccuracyFigures | None) -> bool:
        """Whether graphs pass the accuracy guard; always without evaluation data."""
        loss = self._accuracy_loss(models, reference)
        return loss is None or loss.within

    # Graph by graph

    def _convolutional(self) -> list[str]:
        nodes = {role: graph.info.nodes for role, graph in self.originals.items()}
        found = [role for role, counts in nodes.items() if any(counts.get(op) for op in CONVOLUTIONS)]
        if not found:
            found = [role for role, counts in nodes.items() if any(counts.get(op) for op in WEIGHTED)][:1]
        if not found:
            raise ModelError(
                f"{self.manifest.name}: has no layer whose weights can be quantized: "
                "remove int8 from --precision"
            )
        return found

    def _quantizer(self, role: str) -> StaticQuantizer:
        return StaticQuantizer(self.originals[role], role, lambda: self._inputs(role))

    def _inputs(self, role: str) -> Iterator[Floats]:
        """Yield the calibration set in the form of a graph's input."""
        if role != "head":
            yield from batches(self.calibration.pictures, self.manifest)
            return
        assert self.calibration.windows is not None, "only clips have a head"
        encoder = make_session(self.originals["encoder"])
        for window in self.calibration.windows:
            yield encoder.run1(floats(window, self.manifest))[None]

    def _float_start(self) -> tuple[tuple[str, str], ...]:
        """Choose the first layers to leave in floats: as many as make a graph faster.

        They process many pixels with few channels, too few for eight-bit products to fill a register.
        """
        if self.target != "cpu":
            return ()
        one, first = self._step_inputs(), tuple[tuple[str, str], ...]()
        for role, quantizer in self._static.items():
            layers = [(role, layer) for layer in quantizer.layers]
            starts = [tuple(layers[:count]) for count in range(min(MAX_START, len(layers) // 3) + 1)]
            graphs = [
                quantizer.quantized(Recipe(CALIBRATORS[0], weights=self._weights, first=start))
                for start in starts
            ]
            measured = median_ms({str(n): {role: make_session(graph)} for n, graph in enumerate(graphs)}, one)
            times = [measured[str(n)] for n in range(len(graphs))]
            best = times.index(min(times))
            if _faster(times[best], times[0], START_GAIN):
                self.report(
                    f"int8, {role}: {times[best]:.3f} ms with the first {best} layers in FP32, "
                    f"{times[0]:.3f} ms with all layers in INT8"
                )
                first += starts[best]
        return first

    def _with_dynamic_heads(self, models: Models, reference: AccuracyFigures | None) -> Models:
        """Quantize the other graphs dynamically if that is faster and passes the guard."""
        if self.target != "cpu":
            return models
        for role in (one for one in models if one not in self._static):
            if not any(models[role].info.nodes.get(op) for op in (*RECURRENT, *WEIGHTED)):
                continue
            dynamic = dynamic_int8(models[role], role)
            sessions = {
                name: {role: make_session(graph)}
                for name, graph in (("float", models[role]), ("dynamic", dynamic))
            }
            times = median_ms(sessions, self._step_inputs())
            candidate = {**models, role: dynamic}
            self.report(
                f"int8, {role}: {times['float']:.3f} ms in FP32, {times['dynamic']:.3f} ms in dynamic INT8"
            )
            if _faster(times["dynamic"], times["float"]) and self._is_accurate(candidate, reference):
                models = candidate
        return models

    def _kind(self, role: str, models: Models) -> str:
        if models[role] == self.originals[role]:
            return "float"
        return "static" if role in self._static else "dynamic"

    # Speed

    def _times(self, models: Models) -> dict[str, dict[str, float]]:
        """Measure provider to precision to milliseconds of one step, if the provider is available."""
        provider = self.target
        if provider not in available_providers():
            self.report(f"int8: {provider} is not available, so its speed was not measured")
            return {}
        sessions = {
            name: {role: make_session(graph, Backend(provider, threads=1)) for role, graph in graphs.items()}
            for name, graphs in (("fp32", self.originals), ("int8", models))
        }
        clock = THREAD_TIME if provider == "cpu" else WALL_TIME
        measured = median_ms(sessions, self._step_inputs(), clock=clock)
        times = {name: round(value, 4) for name, value in measured.items()}
        ratio = times["fp32"] / times["int8"]
        self.report(
            f"int8: {times['int8']:.3f} ms, fp32 {times['fp32']:.3f} ms, {ratio:.2f} x as fast "
            f"({provider}, one thread)"
        )
        return {provider: times}

    def _fastest(self, times: Mapping[str, float] | None, loss: AccuracyLoss | None) -> dict[str, str]:
        """Provider to precision; INT8 is never preferred without an accuracy guard.

        Other providers than the CPU are timed by wall time, which depends on what else the machine does, so
        nothing is decided for them.
        """
        if times is None:
            return {}
        if loss is None or not _faster(times["int8"], times["fp32"]):
            return {"cpu": "fp32"}
        return {"cpu": "int8", **({CPU_WITHOUT_VNNI: "fp32"} if self._weights == "full" else {})}

    def _step_inputs(self) -> dict[str, Floats]:
        """Return the input of one step for each role."""
        picture = next(self._inputs(self.manifest.roles[0]))[:1]
        if self.manifest.window is None:
            return {"model": picture}
        features = make_session(self.originals["encoder"]).run1(picture)
        return {"encoder": picture, "head": np.repeat(features[:, None], self.manifest.window.frames, axis=1)}

    # For the receipt

    def _about_calibration(self) -> dict[str, object]:
        chosen = self.calibration.chosen
        return {
            "sha256": chosen.sha256,
            "items": len(chosen),
            "classes": {label: len(items) for label, items in chosen.items.items()},
        }

    def _about_guard(
        self, reference: AccuracyFigures | None, loss: AccuracyLoss | None
    ) -> dict[str, object] | None:
        if reference is None or loss is None or self.evaluation is None:
            return None
        used = {item.partition("@")[0] for items in self.calibration.chosen.items.values() for item in items}
        return {
            "n": len(self.evaluation.truth),
            "also_in_calibration": len(used & self.evaluation.hashes),
            "limits_points": {"top1": self.limits.top1, "worst_class": self.limits.worst_class},
            "fp32_top1": round(reference.top1, 4),
            "fp32_window_top1": round(reference.window_top1, 4),
            "top1_points": _points(-loss.top1),
            "window_top1_points": _points(-loss.window_top1),
            "per_class_points": {label: _points(-lost) for label, lost in loss.per_class.items()},
        }


def _points(change: float) -> float:
    return round(change, 2) + 0.0  # Not -0.0.


def _faster(one_ms: float, other_ms: float, gain: float = MIN_GAIN) -> bool:
    return one_ms * gain < other_ms


def _loss(trial: RecipeTrial) -> float:
    return trial.loss.top1 if trial.loss is not None else 0.0

"""Training loop with averaged weights, early stopping and resumption after every epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.staging import temporary_file
from edgeharfer.training.records import write_history

EpochCallback = Callable[[Mapping[str, float]], None]
MAX_SOUP_MEMBERS = 8
"""Maximum members of a greedy soup; a phase counts once for each time it is included."""
Batches = Iterable[tuple[Any, Any]]
_RECENT = 50
"""Batches over which loss and accuracy are averaged while an epoch is running."""


@dataclass(frozen=True)
class TrainingPlan:
    """Length and stopping criteria of a training.

    Attributes:
        epochs: Maximum number of epochs.
        ema: Decay of the moving average of the weights; 0 disables it.
        patience: Epochs without a better score before training stops.
        plateau: Epochs without a better score before the learning rate is halved; 0 disables it.
        batches: Number of batches of an epoch, to report progress; None if it is unknown.
    """

    epochs: int
    ema: float = 0.999
    patience: int = 12
    plateau: int = 0
    batches: int | None = None


Reporter = Callable[[str], None]
Validation = Callable[[keras.Model], Mapping[str, float]]


class WeightAverage:
    """Exponential moving average of a model's weights, with TensorFlow's ramp-up (1 + n) / (10 + n)."""

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._model, self._decay, self.steps = model, decay, 0
        self.weights = model.get_weights()

    def update(self) -> None:
        """Add the model's current weights to the average."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for mean, now in zip(self.weights, self._model.get_weights(), strict=True):
            if np.issubdtype(mean.dtype, np.floating):
                mean += (now - mean) * np.asarray(1 - decay, mean.dtype)
            else:
                mean[...] = now


def fit(
    model: keras.Model,
    batches: Callable[[int], Batches],
    validate: Validation,
    plan: TrainingPlan,
    folder: Path,
    *,
    resume: bool = False,
    report: Reporter = print,
    on_epoch: EpochCallback | None = None,
    clock: Clock | None = None,
) -> list[dict[str, float]]:
    """Train a compiled model and load its best weights.

    Args:
        model: Compiled model.
        batches: Called as batches(epoch); must return the same batches for the same epoch, so that a resumed
            run equals an uninterrupted one.
        validate: Returns figures of the averaged weights; "score" selects the best epoch.
        plan: Number of epochs and stopping criteria.
        folder: Receives best.weights.h5, history.csv, state.json and epoch-N.npz, the state after the last
            finished epoch.
        resume: Continue from the state in `folder`, if there is one.
        report: Receives progress messages.
        on_epoch: Called with each epoch's row.
        clock: Measures the duration of epochs.

    Returns:
        One row per finished epoch.
    """
    clock = clock or SystemClock()
    average = WeightAverage(model, plan.ema)
    history: list[dict[str, float]] = []
    if resume and (folder / "state.json").exists():
        history = _restore(model, average, folder)
        report(f"resuming after epoch {len(history)}")
    total = plan.batches and plan.batches * (plan.epochs - len(history))
    with step("training", total) as advance:
        for epoch in range(len(history), plan.epochs):
            if history and _stale_epochs(history) >= plan.patience:
                report(f"no improvement for {plan.patience} epochs: stopping")
                break
            started_s, title = clock.monotonic(), f"epoch {epoch + 1}/{plan.epochs}"
            meter = BatchMeter(plan.batches)
            for x, y in batches(epoch):
                note = meter.add(model.train_on_batch(x, y, return_dict=True))
                if plan.ema:
                    average.update()
                advance(1, note, title)
            raw = model.get_weights()
            if not plan.ema:
                average.weights = raw
            model.set_weights(average.weights)
            row = {
                "epoch": epoch + 1,
                "loss": float(np.mean(meter.losses)),
                **validate(model),
                "learning_rate": float(model.optimizer.learning_rate),
            }
            if row["score"] > max((old["score"] for old in history), default=-1.0):
                model.save_weights(folder / "best.weights.h5")
            model.set_weights(raw)
            history.append(row)
            if plan.plateau and (stale := _stale_epochs(history)) and stale % plan.plateau == 0:
                model.optimizer.learning_rate = float(model.optimizer.learning_rate) / 2
                report(f"no improvement for {plan.plateau} epochs: learning rate halved")
            _save(model, average, history, folder)
            if on_epoch:
                on_epoch(row)
            report(f"{title}: {describe_epoch(row)}, {clock.monotonic() - started_s:.0f} s")
    model.load_weights(folder / "best.weights.h5")
    return history


class BatchMeter:
    """Collects loss and accuracy of the batches of an epoch.

    Args:
        batches: Number of batches of the epoch, or None if it is unknown.

    Attributes:
        losses: Loss of each batch so far.
    """

    def __init__(self, batches: int | None) -> None:
        self._batches = batches
        self.losses: list[float] = []
        self._accuracies: list[float] = []

    def add(self, figures: Mapping[str, Any]) -> str:
        """Add the figures of a batch.

        Returns:
            The number of the batch, and the means of the last batches, to report progress.
        """
        self.losses.append(float(figures["loss"]))
        found = [float(value) for key, value in figures.items() if key.endswith("accuracy")]
        self._accuracies += [float(np.mean(found))] if found else []
        count = str(len(self.losses))
        parts = [f"{count}/{self._batches}" if self._batches else f"batch {count}"]
        parts.append(f"loss {np.mean(self.losses[-_RECENT:]):.3f}")
        if self._accuracies:
            parts.append(f"acc {np.mean(self._accuracies[-_RECENT:]):.1%}")
        return "  ".join(parts)


def describe_epoch(row: Mapping[str, float]) -> str:
    """Describe the row of an epoch: loss, held-out accuracy by head and learning rate."""
    heads = {key.removesuffix("_top1"): value for key, value in row.items() if key.endswith("_top1")}
    parts = [f"loss {row['loss']:.4f}"]
    if "score" in row:
        parts.append(f"held-out accuracy {row['score']:.1%}")
    if "score" in row and len(heads) > 1:
        parts[-1] += f" ({', '.join(f'{head} {value:.1%}' for head, value in heads.items())})"
    elif "score" not in row:
        parts += [f"{head.replace('_', '-')} accuracy {value:.1%}" for head, value in heads.items()]
    if "learning_rate" in row:
        parts.append(f"learning rate {row['learning_rate']:.2g}")
    return ", ".join(parts)


def greedy_soup(
    model: keras.Model, folders: Sequence[Path], loss: Callable[[keras.Model], float], report: Reporter
) -> None:
    """Average the best weights of a run's phases greedily (model soups, Wortsman et al. 2022).

    Each phase continues from the previous one, so their weights can be averaged, and the mean generalises
    better than any single phase. The phase that lowers the held-out loss most is added repeatedly, until none
    lowers it any further. The model is left with the mean.

    Args:
        model: Model to load the weights into.
        folders: Folders of the phases, each with best.weights.h5.
        loss: Held-out loss of the model.
        report: Receives progress messages.
    """
    weights = {}
    for folder in folders:
        model.load_weights(folder / "best.weights.h5")
        weights[folder.name] = model.get_weights()

    def mean(names: Sequence[str]) -> list[Any]:
        parts = [weights[name] for name in names]
        return [np.mean(arrays, axis=0, dtype=np.float64) for arrays in zip(*parts, strict=True)]

    def loss_of(names: Sequence[str]) -> float:
        model.set_weights(mean(names))
        return loss(model)

    chosen: list[str] = []
    best_loss = math.inf
    while len(chosen) < MAX_SOUP_MEMBERS:
        losses = {name: loss_of([*chosen, name]) for name in weights}
        name = min(losses, key=losses.__getitem__)
        if losses[name] >= best_loss:
            break
        chosen, best_loss = [*chosen, name], losses[name]
    model.set_weights(mean(chosen))
    report(f"averaged weights of {' + '.join(sorted(chosen))}: held-out loss {best_loss:.4f}")


def _stale_epochs(history: list[dict[str, float]]) -> int:
    """Return the number of epochs since the best one."""
    best = max(range(len(history)), key=lambda i: history[i]["score"])
    return len(history) - 1 - best


def _save(model: keras.Model, average: WeightAverage, history: list[dict[str, float]], folder: Path) -> None:
    """Save the whole state of the run atomically, state.json last."""
    state, weights = folder / "state.json", folder / f"epoch-{len(history)}.npz"
    with temporary_file(state) as new_state, temporary_file(weights) as new_weights:
        variables = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
        np.savez(new_weights, *variables, *average.weights, steps=np.array(average.steps))
        write_history(folder / "history.csv", history)
        new_state.write_text(json.dumps(history), encoding="utf-8")
        new_weights.replace(weights)
        new_state.replace(state)
    (folder / f"epoch-{len(history) - 1}.npz").unlink(missing_ok=True)


def _restore(model: keras.Model, average: WeightAverage, folder: Path) -> list[dict[str, float]]:
    """Load the last state that `_save` wrote."""
    history: list[dict[str, float]] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    variables = _variables(model)
    with np.load(folder / f"epoch-{len(history)}.npz") as arrays:
        values = [arrays[f"arr_{i}"] for i in range(len(arrays.files) - 1)]
        average.steps = int(arrays["steps"])
    for variable, value in zip(variables, values[: len(variables)], strict=True):
        variable.assign(value)
    average.weights = values[len(variables) :]
    return history


def _variables(model: keras.Model) -> list[Any]:
    """Return all variables that training changes: weights, dropout's random state, the optimizer's moments.

    A .keras file lacks the random state, so a run resumed from it would differ.
    """
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]

"""Train an action model on clips: frozen backbone, cached features, folds of groups, then a head on all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import ClipScores, summarize_clips
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action_card import Run
from edgeharfer.training.action_recipe import ActionRecipe
from edgeharfer.training.action_run import save_run
from edgeharfer.training.architectures import action_model, frame_encoder
from edgeharfer.training.clips import BACKGROUND, Clip, ClipStore, find_clips, load_clips
from edgeharfer.training.confidence import choose_threshold, fit_temperature, fold_in, soften
from edgeharfer.training.encoder import make_encoder
from edgeharfer.training.folds import assign_folds, group_clips
from edgeharfer.training.head import HeadRecipe, Row, read_windows, train_head

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Encoded clips, their class as an index into `labels`, and the fold that holds each one out."""

    clips: list[Clip]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    groups: list[str]
    folds: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> tuple[list[Clip], NDArray[np.int64]]:
        """Some clips and their classes."""
        return [clip for clip, keep in zip(self.clips, chosen, strict=True) if keep], self.truth[chosen]

    @property
    def digest(self) -> str:
        """SHA-256 over the contents and classes of all clips, whatever their order and names."""
        lines = sorted(f"{clip.sha256} {clip.label}" for clip in self.clips)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def train_action(
    data: Path,
    out: Path,
    recipe: ActionRecipe,
    *,
    background: Sequence[Path] = (),
    backbone_weights: str | Path = "imagenet",
    resume: bool = False,
    threads: int = 1,
    report: Report = print,
) -> keras.Model:
    """Cross-validate and train; leaves the run in `out` and returns the whole model, float32.

    data: folder or zip of `<class>/<clip>`, or with splits, of which the training split is taken.
    background: clips of ordinary scenes, or folders of them at any depth; they make one more class, the last.
    backbone_weights: "imagenet", "none" or a file. resume: keep finished folds of the same data and recipe.
    threads: for encoding.

    The figures are out-of-fold: each clip is judged by a head that has seen no clip of its group. The
    model that is saved was then trained on all clips in the same way, for the same length.
    Encoded features stay in `out` and are used again by any later run on the same clips.
    Raises SourceError for data without a clip in some class, ConfigError for weights that do not fit.
    """
    weights = None if str(backbone_weights) == "none" else backbone_weights
    keras.utils.set_random_seed(recipe.seed)
    backbone = frame_encoder(recipe.side, recipe.alpha, weights)
    encoder = make_encoder(backbone, threads, report)
    store = ClipStore(out / "features", recipe.clip_spec, encoder)
    files = find_clips(data, background)
    clips, skipped = load_clips(files, store, report)
    labels = order_labels({file.label for file in files}, clips, skipped)
    chosen = split_clips(clips, labels, recipe)
    report(describe(chosen, skipped))

    trainer = Trainer(chosen, recipe, encoder.digest, out / "heads", resume, report)
    probs = trainer.cross_validate()
    temperature = fit_temperature(probs, chosen.truth)
    calibrated = [soften(windows, temperature) for windows in probs]
    quiet = labels.index(BACKGROUND) if BACKGROUND in labels else None
    threshold = choose_threshold(calibrated, chosen.truth, quiet)
    scores = ClipScores(calibrated, chosen.truth.tolist(), [clip.name for clip in clips])
    figures = summarize_clips(scores, labels)

    head = trainer.final_head()
    fold_in(head, temperature)
    model = action_model(backbone, head)
    save_run(out, model, Run(
        recipe=recipe, labels=labels, figures=figures, folds=trainer.fold_figures(calibrated), history=trainer.history,
        temperature=temperature, threshold=threshold, skipped=skipped, backbone=_backbone(weights, encoder.digest),
        counts=Counter(clip.label for clip in clips), groups=_groups_per_class(chosen), data_sha256=chosen.digest,
    ))  # fmt: skip
    report(
        f"clip top-1 {figures['top1']:.3f}, window top-1 {figures['window_top1']:.3f}, threshold {threshold:g}"
    )
    return model


def order_labels(wanted: set[str], clips: Sequence[Clip], skipped: dict[str, str]) -> tuple[str, ...]:
    """All classes in alphabetical order, background last. Raises SourceError for one without a readable clip."""
    labels = (*sorted(wanted - {BACKGROUND}), *sorted(wanted & {BACKGROUND}))
    empty = [label for label in labels if label not in {clip.label for clip in clips}]
    if empty:
        reason = next(
            (f" ({name}: {why})" for name, why in skipped.items() if name.split("/")[-2:-1] == empty[:1]), ""
        )
        raise SourceError(f"no readable clip of class {', '.join(empty)}{reason}")
    if len(labels) < 2:
        raise SourceError(f"only one class, {labels[0]}: put clips of each class into a folder of its name")
    return labels


def split_clips(clips: list[Clip], labels: tuple[str, ...], recipe: ActionRecipe) -> ClipSet:
    """The clips with their classes, groups and folds."""
    truth = np.array([labels.index(clip.label) for clip in clips], np.int64)
    groups = group_clips(clips, recipe.grouping)
    return ClipSet(clips, labels, truth, groups, assign_folds(truth, groups, recipe.folds, recipe.seed))


def describe(chosen: ClipSet, skipped: dict[str, str]) -> str:
    """The data in one line, with what cannot be measured on it."""
    alone = [label for label, count in _groups_per_class(chosen).items() if count == 1]
    line = (
        f"{len(chosen.clips)} clips of {len(chosen.labels)} classes in {len(set(chosen.groups))} groups, "
        f"{len(skipped)} skipped"
    )
    if alone:
        line += f"; one group only, so it cannot be recognised out of fold: {', '.join(alone)}"
    return line


def _groups_per_class(chosen: ClipSet) -> dict[str, int]:
    pairs = {(clip.label, group) for clip, group in zip(chosen.clips, chosen.groups, strict=True)}
    counts = Counter(label for label, _ in pairs)
    return {label: counts[label] for label in chosen.labels}


def _backbone(weights: str | Path | None, digest: str) -> dict[str, str]:
    name = "none" if weights is None else Path(weights).name
    return {"architecture": "MobileNetV2", "weights": name, "sha256": digest}


@dataclass
class Trainer:
    """Trains heads on parts of a clip set; a finished one stays in `folder` and can be taken up again."""

    chosen: ClipSet
    recipe: ActionRecipe
    encoder_digest: str
    folder: Path
    resume: bool
    report: Report
    history: list[dict[str, object]] = field(default_factory=list)

    def cross_validate(self) -> list[Floats]:
        """Out-of-fold probabilities (windows, classes) of each clip."""
        window = self.recipe.clip_spec.window
        found: list[Floats] = [np.empty(0, np.float32)] * len(self.chosen.clips)
        for fold in range(self.recipe.folds):
            held = np.flatnonzero(self.chosen.folds == fold)
            head = self._head(f"fold-{fold + 1}", self.chosen.folds != fold)
            probs = read_windows(head, [self.chosen.clips[i].windows(window) for i in held])
            for i, rows in zip(held, probs, strict=True):
                found[i] = rows
            right = [
                rows.mean(axis=0).argmax() == self.chosen.truth[i]
                for i, rows in zip(held, probs, strict=True)
            ]
            self.report(f"fold {fold + 1}: clip top-1 {np.mean(right):.3f} on {len(held)} clips")
        return found

    def final_head(self) -> keras.Model:
        """A head trained on all clips."""
        return self._head("final", np.ones(len(self.chosen.clips), np.bool_))

    def fold_figures(self, probs: Sequence[Floats]) -> list[dict[str, float]]:
        """Clips and top-1 of each fold."""
        rows = []
        for fold in range(self.recipe.folds):
            held = np.flatnonzero(self.chosen.folds == fold)
            right = [probs[i].mean(axis=0).argmax() == self.chosen.truth[i] for i in held]
            rows.append({"fold": fold + 1, "clips": len(held), "top1": float(np.mean(right))})
        return rows

    def _head(self, name: str, chosen: NDArray[np.bool_]) -> keras.Model:
        clips, truth = self.chosen.take(chosen)
        key = self._key(chosen)
        model, rows = self._restore(name, key) if self.resume else (None, [])
        if model is None:
            model, rows = train_head(
                clips, truth, len(self.chosen.labels), self.recipe.clip_spec.window, self.recipe,
                watch=self._watch(~chosen), report=lambda line: self.report(f"{name}: {line}"),
            )  # fmt: skip
            self._keep(name, key, model, rows)
        self.history += [{"run": name, **row} for row in rows]
        return model

    def _watch(self, held: NDArray[np.bool_]) -> Callable[[keras.Model], Row]:
        """Top-1 on the middle window of each held-out clip, for the curves only."""
        if not held.any():
            return lambda head: {}
        clips, truth = self.chosen.take(held)
        window = self.recipe.clip_spec.window
        middle = [windows[len(windows) // 2][None] for windows in (clip.windows(window) for clip in clips)]

        def watch(head: keras.Model) -> Row:
            called = np.concatenate(read_windows(head, middle)).argmax(axis=1)
            return {"held_out_top1": float((called == truth).mean())}

        return watch

    def _key(self, chosen: NDArray[np.bool_]) -> str:
        """Tells apart what a head was trained on and how."""
        parts = sorted(f"{clip.sha256} {clip.label}" for clip in self.chosen.take(chosen)[0])
        head = {one.name: getattr(self.recipe, one.name) for one in fields(HeadRecipe)}
        facts = [self.encoder_digest, self.chosen.labels, parts, asdict(self.recipe.clip_spec), head]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _keep(self, name: str, key: str, model: keras.Model, rows: list[Row]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.folder / f"{name}.part.keras")
        (self.folder / f"{name}.part.keras").replace(self.folder / f"{name}.keras")
        state = json.dumps({"key": key, "history": rows})
        (self.folder / f"{name}.part.json").write_text(state, encoding="utf-8")
        (self.folder / f"{name}.part.json").replace(self.folder / f"{name}.json")

    def _restore(self, name: str, key: str) -> tuple[keras.Model | None, list[Row]]:
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None, []
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["key"] != key:
            self.report(f"{name}: was trained on other data or settings, so it is trained again")
            return None, []
        self.report(f"{name}: finished before")
        return keras.saving.load_model(self.folder / f"{name}.keras", compile=False), state["history"]

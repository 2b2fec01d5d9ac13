"""Cross-validation: one head per fold and one on all clips."""

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

from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.folds import assign_folds, group_clips
from edgeharfer.training.action.head import HeadRecipe, Row, read_windows, train_head
from edgeharfer.training.action.recipe import ActionRecipe

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Encoded clips with their classes, groups and folds.

    Attributes:
        clips: The clips.
        labels: Class names.
        truth: Class of each clip, an index into `labels`.
        groups: Group of each clip.
        folds: Fold that holds out each clip.
    """

    clips: list[EncodedClip]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    groups: list[str]
    folds: NDArray[np.int64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Mask of the clips that figures include: all but photographs and those with `EncodedClip.aside`."""
        return np.array([not (clip.aside or clip.is_still) for clip in self.clips])

    def take(self, chosen: NDArray[np.bool_]) -> tuple[list[EncodedClip], NDArray[np.int64]]:
        """Return the clips under the mask `chosen` and their classes."""
        return [clip for clip, keep in zip(self.clips, chosen, strict=True) if keep], self.truth[chosen]

    @property
    def background_sources(self) -> list[str]:
        """Names of the sources of background clips, without photographs."""
        return sorted({clip.source for clip in self.clips if clip.is_background and not clip.is_still})

    def from_source(self, source: str) -> NDArray[np.bool_]:
        """Mask of the background clips from one source."""
        return np.array([clip.is_background and clip.source == source for clip in self.clips])

    @property
    def clip_counts(self) -> dict[str, int]:
        """Number of clips by class."""
        counts = Counter(clip.label for clip in self.clips)
        return {label: counts[label] for label in self.labels}

    @property
    def group_counts(self) -> dict[str, int]:
        """Number of groups by class."""
        pairs = {(clip.label, group) for clip, group in zip(self.clips, self.groups, strict=True)}
        counts = Counter(label for label, _ in pairs)
        return {label: counts[label] for label in self.labels}

    @property
    def digest(self) -> str:
        """SHA-256 of contents and classes of all clips, independent of order and names."""
        lines = sorted(f"{clip.sha256} {clip.label}" for clip in self.clips)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __str__(self) -> str:
        line = f"{len(self.clips)} clips of {len(self.labels)} classes in {len(set(self.groups))} groups"
        alone = [label for label, count in self.group_counts.items() if count == 1]
        if alone:
            line += f"; classes with a single group, never recognised out of fold: {', '.join(alone)}"
        return line


def split_clips(clips: list[EncodedClip], labels: tuple[str, ...], recipe: ActionRecipe) -> ClipSet:
    """Assign classes, groups and folds.

    Raises:
        ConfigError: There are fewer groups than folds.
    """
    truth = np.array([labels.index(clip.label) for clip in clips], np.int64)
    groups = group_clips(clips, recipe.grouping, recipe.subject)
    # Auxiliary background clips are distributed separately, so that no fold consists of them alone.
    kinds = np.where([clip.aside for clip in clips], len(labels), truth)
    folds = recipe.folds or len(set(groups))
    return ClipSet(clips, labels, truth, groups, assign_folds(kinds, groups, folds, recipe.seed))


@dataclass
class Trainer:
    """Trains heads on subsets of a clip set and saves each finished head in `folder`.

    Attributes:
        clip_set: All clips.
        recipe: All settings.
        encoder_digest: Identifies how features were made.
        folder: Folder of the finished heads.
        resume: Reuse finished heads in `folder` that were trained on the same data and settings.
        report: Receives progress messages.
        history: One row per head and epoch.
        heads: Finished heads by name.
    """

    clip_set: ClipSet
    recipe: ActionRecipe
    encoder_digest: str
    folder: Path
    resume: bool
    report: Report
    history: list[dict[str, object]] = field(default_factory=list)
    heads: dict[str, keras.Model] = field(default_factory=dict)

    def cross_validate(self, windows: Callable[[EncodedClip], Floats], what: str) -> list[Floats]:
        """Predict each clip with the head of the fold that holds it out.

        Args:
            windows: Returns the windows of a clip to predict.
            what: Description of the windows for messages.

        Returns:
            Probabilities (windows, classes) of each clip.
        """
        found: list[Floats] = [np.empty(0, np.float32)] * len(self.clip_set.clips)
        for fold in np.unique(self.clip_set.folds).tolist():
            held = np.flatnonzero(self.clip_set.folds == fold).tolist()
            head = self._head(f"fold-{fold + 1}", self.clip_set.folds != fold)
            probs = read_windows(head, [windows(self.clip_set.clips[i]) for i in held])
            for i, rows in zip(held, probs, strict=True):
                found[i] = rows
        for row in self.fold_figures(found):
            line = "fold {fold}: clip top-1 {top1:.3f} on {clips} clips".format_map(row)
            self.report(f"{line}, {what}")
        return found

    def predict_source(self, source: str, windows: Callable[[EncodedClip], Floats]) -> list[Floats]:
        """Predict the background clips of a source with a head that was trained without them.

        Args:
            source: Name of the source.
            windows: Returns the windows of a clip to predict.

        Returns:
            Probabilities (windows, classes) of each clip.
        """
        held = self.clip_set.from_source(source)
        clips, _ = self.clip_set.take(held)
        return read_windows(self._head(f"without-{source}", ~held), [windows(clip) for clip in clips])

    def final_head(self) -> keras.Model:
        """Return a head trained on all clips."""
        return self._head("final", np.ones(len(self.clip_set.clips), np.bool_))

    def fold_figures(self, probs: Sequence[Floats]) -> list[dict[str, float]]:
        """Return the number of clips and top-1 of each fold that has clips to score."""
        rows = []
        for fold in np.unique(self.clip_set.folds[self.clip_set.scored]).tolist():
            held = np.flatnonzero((self.clip_set.folds == fold) & self.clip_set.scored).tolist()
            correct = [probs[i].mean(axis=0).argmax() == self.clip_set.truth[i] for i in held]
            rows.append({"fold": fold + 1, "clips": len(held), "top1": float(np.mean(correct))})
        return rows

    def _head(self, name: str, chosen: NDArray[np.bool_]) -> keras.Model:
        if name not in self.heads:
            self.heads[name] = self._make_head(name, chosen)
        return self.heads[name]

    def _make_head(self, name: str, chosen: NDArray[np.bool_]) -> keras.Model:
        clips, truth = self.clip_set.take(chosen)
        key = self._key(chosen)
        model, rows = self._restore(name, key) if self.resume else (None, [])
        if model is None:
            model, rows = train_head(
                clips, truth, len(self.clip_set.labels), self.recipe.sampler, self.recipe,
                evaluate=self._held_out_accuracy(~chosen), name=name,
                report=lambda line: self.report(f"{name}: {line}"),
            )  # fmt: skip
            self._save(name, key, model, rows)
        self.history += [{"run": name, **row} for row in rows]
        return model

    def _held_out_accuracy(self, held: NDArray[np.bool_]) -> Callable[[keras.Model], Row]:
        """Return a function that computes top-1 on the middle window of each held-out clip, for the curves
        only.
        """
        if not held.any():
            return lambda head: {}
        clips, truth = self.clip_set.take(held)
        windows_by_clip = [self.recipe.sampler.evaluation_windows(clip) for clip in clips]
        middle = [windows[len(windows) // 2][None] for windows in windows_by_clip]

        def evaluate(head: keras.Model) -> Row:
            predicted = np.concatenate(read_windows(head, middle)).argmax(axis=1)
            return {"held_out_top1": float((predicted == truth).mean())}

        return evaluate

    def _key(self, chosen: NDArray[np.bool_]) -> str:
        """Identify the data and settings that a head was trained with."""
        clips, _ = self.clip_set.take(chosen)
        parts = sorted(f"{clip.sha256} {clip.label} {clip.source}{' aside' * clip.aside}" for clip in clips)
        head = {one.name: getattr(self.recipe, one.name) for one in fields(HeadRecipe)}
        facts = [self.encoder_digest, self.clip_set.labels, parts, asdict(self.recipe.clip_spec), head]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _save(self, name: str, key: str, model: keras.Model, rows: list[Row]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced_file(self.folder / f"{name}.keras") as temporary:
            model.save(temporary)
        with replaced_file(self.folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps({"key": key, "history": rows}), encoding="utf-8")

    def _restore(self, name: str, key: str) -> tuple[keras.Model | None, list[Row]]:
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None, []
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["key"] != key:
            self.report(f"{name}: trained on other data or settings: training it again")
            return None, []
        self.report(f"{name}: already finished")
        return keras.saving.load_model(self.folder / f"{name}.keras", compile=False), state["history"]

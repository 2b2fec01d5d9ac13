"""How often which emotion goes with which action: counts for the model of likely actions.

A count needs both said of the same picture. EMOTIC tells emotions, MPII activities, and they share no
picture as published (EMOTIC draws on COCO, ADE20K and its own, MPII on films), so what they share is
counted, and where they share nothing the table holds all that the two can honestly say: how common each
emotion is, and how common each activity, the two taken as independent. Then an emotion changes nothing
about what is likely, and `source` says so. EMOTIC's folders are the data sets that it draws on, no scenes,
so they add nothing. Data that was joined by hand comes as pairs, and is counted beside.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import canonical
from edgeharfer.evaluate.ferplus import LABELS
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.staging import cannot_write, replaced_file
from edgeharfer.training.context.emotic import AnnotatedPerson, read_emotic
from edgeharfer.training.context.mpii import Activity, read_mpii
from edgeharfer.training.records import file_hash
from edgeharfer.training.tables import read_table

FORMAT = 1
SMOOTHING = 1.0

Counts = NDArray[np.float64]
Observation = tuple[Counts, str]
"""Parts of people who show each emotion of LABELS, (8,), and what they do."""


@dataclass(frozen=True)
class ContextCounts:
    """Counts of emotions with actions.

    actions: names, sorted. counts: (8, actions), how many people, in parts where one shows two emotions.
    smoothing: what a reader adds to every count before it makes shares of them (additive smoothing).
    source: where the counts come from; its "relation" is "joint", or "independent" where nothing was joined.
    """

    actions: tuple[str, ...]
    counts: Counts
    smoothing: float
    source: Mapping[str, object]

    def dump(self) -> str:
        """The file context.json: one object, every number finite."""
        content = {
            "format": FORMAT,
            "emotions": list(LABELS),
            "actions": list(self.actions),
            "counts": [[round(float(count), 4) for count in row] for row in self.counts],
            "smoothing": self.smoothing,
            "source": dict(self.source),
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def build_context(
    emotic: Sequence[Path] = (),
    mpii: Path | None = None,
    pairs: Path | None = None,
    smoothing: float = SMOOTHING,
) -> ContextCounts:
    """Count what the files say together.

    emotic: Annotations.mat, or csv files of its splits. mpii: its .mat or csv. pairs: csv with the columns
    image, emotion and action. Raises ConfigError where these cannot give a table, SourceError for a bad file.
    """
    if bool(emotic) != bool(mpii):
        raise ConfigError("EMOTIC has no actions and MPII no emotions: give both --emotic and --mpii")
    if not emotic and pairs is None:
        raise ConfigError("nothing to count: give --emotic and --mpii, or --pairs")
    people = [person for file in emotic for person in read_emotic(file)]
    activities = [] if mpii is None else read_mpii(mpii)
    paired = [] if pairs is None else read_pairs(pairs)
    shared = join_by_image(people, activities)
    observations = paired + shared or assume_independent(people, activities)
    if not observations:
        raise ConfigError("nobody in EMOTIC shows one of our emotions: there is nothing to count")
    source = {
        "relation": "joint" if paired or shared else "independent",
        "files": [{"name": file.name, "sha256": file_hash(file)} for file in (*emotic, mpii, pairs) if file],
        "people": len(people),
        "people_with_emotion": sum(bool(person.shares().any()) for person in people),
        "pictures_with_activity": len(activities),
        "people_joined": len(shared),
        "pairs": len(paired),
    }
    return ContextCounts(*_count(observations), smoothing, source)


def _count(observations: Sequence[Observation]) -> tuple[tuple[str, ...], Counts]:
    actions = tuple(sorted({action for _, action in observations}))
    counts = np.zeros((len(LABELS), len(actions)))
    for emotions, action in observations:
        counts[:, actions.index(action)] += emotions
    return actions, counts


def join_by_image(people: Sequence[AnnotatedPerson], activities: Sequence[Activity]) -> list[Observation]:
    """People with an emotion in pictures whose activity is told; pictures are the same by their file name."""
    category = {PurePosixPath(activity.image).name: activity.category for activity in activities}
    named = ((person.shares(), PurePosixPath(person.image).name) for person in people)
    return [(emotions, category[name]) for emotions, name in named if name in category and emotions.any()]


def assume_independent(
    people: Sequence[AnnotatedPerson], activities: Sequence[Activity]
) -> list[Observation]:
    """All people's emotions, dealt out to the activities by how common each is."""
    emotions = np.sum([person.shares() for person in people], axis=0)
    common = Counter(activity.category for activity in activities)
    shares = [(emotions * (count / common.total()), action) for action, count in common.items()]
    return [(part, action) for part, action in shares if part.any()]


def read_pairs(path: Path) -> list[Observation]:
    """A csv of image, emotion and action, one row for each person.

    Raises SourceError, with the line, for an emotion that is none of ours or an action without a name.
    """
    observations: list[Observation] = []
    for line, row in read_table(path, ("image", "emotion", "action"), "a table of pairs"):
        emotion = canonical(row["emotion"])
        if emotion not in LABELS:
            raise SourceError(
                f"{path}: line {line}: no emotion {row['emotion'][:60]!r}: give one of {', '.join(LABELS)}"
            )
        if not row["action"]:
            raise SourceError(f"{path}: line {line}: the action is missing")
        observations.append((np.eye(len(LABELS))[LABELS.index(emotion)], row["action"]))
    if not observations:
        raise SourceError(f"{path}: a table of pairs without a row")
    return observations


def write_context(context: ContextCounts, out: Path) -> None:
    """Write context.json, whole or not at all. Raises SinkError."""
    try:
        with replaced_file(out) as file:
            file.write_text(context.dump(), encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error

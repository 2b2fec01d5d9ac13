"""Co-occurrence counts of emotions and actions, for the model of likely actions.

EMOTIC annotates emotions and MPII activities. People in images that both annotate are counted jointly. As
published they share no image (EMOTIC draws on COCO, ADE20K and its own, MPII on films); then the table holds
the frequency of each emotion and each activity, assumed independent, so that an emotion does not change which
action is likely, and `source` says so. EMOTIC's folders are its source data sets, not scenes, so they are not
used. Data that was joined by hand can be added as pairs.
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
"""One person: the shares of the emotions in LABELS, (8,), and the action."""


@dataclass(frozen=True)
class ContextCounts:
    """Counts of emotions with actions.

    Attributes:
        actions: Names, sorted.
        counts: Number of people, (8, actions); a person with two emotions counts in parts.
        smoothing: Additive smoothing that a reader applies before normalising.
        source: Origin of the counts; "relation" is "joint" or "independent".
    """

    actions: tuple[str, ...]
    counts: Counts
    smoothing: float
    source: Mapping[str, object]

    def dump(self) -> str:
        """Return the content of context.json."""
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
    """Count emotions with actions.

    Args:
        emotic: Annotations.mat, or CSV files of its splits.
        mpii: MPII's .mat or CSV file.
        pairs: CSV with the columns image, emotion and action.
        smoothing: Additive smoothing for readers of the table.

    Raises:
        ConfigError: The inputs do not suffice for a table.
        SourceError: A file is unreadable or invalid.
    """
    if bool(emotic) != bool(mpii):
        raise ConfigError("EMOTIC has no actions and MPII no emotions: pass both --emotic and --mpii")
    if not emotic and pairs is None:
        raise ConfigError("nothing to count: pass --emotic and --mpii, or --pairs")
    people = [person for file in emotic for person in read_emotic(file)]
    activities = [] if mpii is None else read_mpii(mpii)
    paired = [] if pairs is None else read_pairs(pairs)
    shared = join_by_image(people, activities)
    observations = paired + shared or assume_independent(people, activities)
    if not observations:
        raise ConfigError("nothing to count: no person in EMOTIC has one of our emotions")
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
    """Pair people's emotions with the activity of the same image, matched by file name."""
    category = {PurePosixPath(activity.image).name: activity.category for activity in activities}
    named = ((person.shares(), PurePosixPath(person.image).name) for person in people)
    return [(emotions, category[name]) for emotions, name in named if name in category and emotions.any()]


def assume_independent(
    people: Sequence[AnnotatedPerson], activities: Sequence[Activity]
) -> list[Observation]:
    """Distribute all people's emotions over the activities by their frequency."""
    emotions = np.sum([person.shares() for person in people], axis=0)
    frequency = Counter(activity.category for activity in activities)
    shares = [(emotions * (count / frequency.total()), action) for action, count in frequency.items()]
    return [(part, action) for part, action in shares if part.any()]


def read_pairs(path: Path) -> list[Observation]:
    """Read a CSV of image, emotion and action, one row per person.

    Raises:
        SourceError: Unknown emotion or missing action, with the line.
    """
    observations: list[Observation] = []
    for line, row in read_table(path, ("image", "emotion", "action"), "a table of pairs"):
        emotion = canonical(row["emotion"])
        if emotion not in LABELS:
            raise SourceError(
                f"{path}: line {line}: unknown emotion {row['emotion'][:60]!r}: "
                f"choose from {', '.join(LABELS)}"
            )
        if not row["action"]:
            raise SourceError(f"{path}: line {line}: the action is missing")
        observations.append((np.eye(len(LABELS))[LABELS.index(emotion)], row["action"]))
    if not observations:
        raise SourceError(f"{path}: contains no pairs")
    return observations


def write_context(context: ContextCounts, out: Path) -> None:
    """Write context.json atomically.

    Raises:
        SinkError: The file cannot be written.
    """
    try:
        with replaced_file(out) as file:
            file.write_text(context.dump(), encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error

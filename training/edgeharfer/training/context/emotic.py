"""EMOTIC: people in scenes and their apparent emotions (Kosti et al. 2019, arXiv:2003.13401).

Two published forms are supported. Annotations.mat holds train, val and test, each an array of images with
`folder`, `filename` and `person`; a person has the categories of one annotator in train and, in val and test,
those of several, with all of them in `combined_categories`. The CSV files of the usual preprocessing hold one
person per row, with the categories as a Python list in `Categorical_Labels`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.ferplus import LABELS
from edgeharfer.runtime.errors import SourceError
from edgeharfer.training.context.matfile import as_list, as_text, get_member, load_mat
from edgeharfer.training.tables import read_table

EMOTION_OF_CATEGORY: dict[str, str | None] = {
    "Affection": "happy",
    "Anger": "angry",
    "Annoyance": "angry",
    "Anticipation": None,
    "Aversion": "disgust",
    "Confidence": None,
    "Disapproval": "contempt",
    "Disconnection": "neutral",
    "Disquietment": "fear",
    "Doubt/Confusion": None,
    "Embarrassment": None,
    "Engagement": "neutral",
    "Esteem": None,
    "Excitement": "happy",
    "Fatigue": None,
    "Fear": "fear",
    "Happiness": "happy",
    "Pain": None,
    "Peace": "neutral",
    "Pleasure": "happy",
    "Sadness": "sad",
    "Sensitivity": None,
    "Suffering": "sad",
    "Surprise": "surprise",
    "Sympathy": None,
    "Yearning": None,
}
"""EMOTIC's 26 categories and the closest facial expression of each, by EMOTIC's own definitions.

- Weaker and stronger forms are merged: Annoyance is irritation, Disquietment is worry and alarm, Affection,
  Excitement and Pleasure are delight, Suffering is mental pain.
- Aversion is defined by disgust and repulsion, Disapproval by contempt.
- Engagement (attentive), Disconnection (indifferent) and Peace (relaxed) are states without a facial
  expression. Most people in EMOTIC are engaged, whatever else they feel, so the three count as neutral only
  for a person without any category that has an expression.
- The others map to none: attitudes towards the future or other people (Anticipation, Confidence, Esteem,
  Sympathy, Yearning), or states without a class in FER+ (Doubt/Confusion, Embarrassment, Fatigue, Pain,
  Sensitivity). Assigning one anyway would only add noise.
"""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class AnnotatedPerson:
    """A person in an image.

    Attributes:
        image: Folder and file name in EMOTIC.
        categories: EMOTIC categories.
    """

    image: str
    categories: tuple[str, ...]

    def shares(self) -> NDArray[np.float64]:
        """Return this person's shares of the emotions in LABELS, (8,), summing to 1, or all 0 without an
        emotion.

        Each category with an emotion counts equally; neutral ones count only if there are no others.
        """
        emotions = [emotion for category in self.categories if (emotion := EMOTION_OF_CATEGORY[category])]
        shown = [emotion for emotion in emotions if emotion != "neutral"] or emotions
        counts = np.array([shown.count(label) for label in LABELS], np.float64)
        return counts / max(1, len(shown))


def read_emotic(path: Path) -> list[AnnotatedPerson]:
    """Read all people of Annotations.mat or of one of the CSV files.

    Raises:
        SourceError: The file is unreadable, has another layout, or contains an unknown category.
    """
    people = list(_from_csv(path) if path.suffix.lower() == ".csv" else _from_mat(path))
    if not people:
        raise SourceError(f"{path}: contains no annotated person")
    return people


def _from_mat(path: Path) -> Iterator[AnnotatedPerson]:
    found = load_mat(path, *SPLITS)
    if not found:
        raise SourceError(f"{path}: not EMOTIC's Annotations.mat: it has none of {', '.join(SPLITS)}")
    for split, images in found.items():
        for number, image in enumerate(as_list(images), 1):
            where = f"{path}: {split}({number})"
            try:
                name = f"{as_text(get_member(image, 'folder'))}/{as_text(get_member(image, 'filename'))}"
                people = [_labels(person) for person in as_list(get_member(image, "person"))]
            except (KeyError, TypeError) as error:
                raise SourceError(f"{where}: unexpected layout for EMOTIC: {error}") from error
            yield from (_person(name, categories, where) for categories in people)


def _labels(person: object) -> list[str]:
    """Return the combined categories of all annotators if present, otherwise those of the one annotator."""
    if isinstance(person, dict) and "combined_categories" in person:
        return [as_text(category) for category in as_list(person["combined_categories"])]
    return [
        as_text(category) for category in as_list(get_member(person, "annotations_categories", "categories"))
    ]


def _from_csv(path: Path) -> Iterator[AnnotatedPerson]:
    columns = ("Folder", "Filename", "Categorical_Labels")
    for line, row in read_table(path, columns, "EMOTIC's csv"):
        where = f"{path}: line {line}"
        yield _person(
            f"{row['Folder']}/{row['Filename']}", _parse_labels(row["Categorical_Labels"], where), where
        )


def _parse_labels(cell: str, where: str) -> list[str]:
    """Parse the str() of a Python list of strings."""
    try:
        labels = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise SourceError(f"{where}: Categorical_Labels is not a list of names: {cell[:60]!r}")
    return labels


def _person(image: str, categories: Sequence[str], where: str) -> AnnotatedPerson:
    unknown = next((category for category in categories if category not in EMOTION_OF_CATEGORY), None)
    if unknown is not None:
        raise SourceError(f"{where}: unknown EMOTIC category {unknown[:60]!r}")
    return AnnotatedPerson(image, tuple(categories))

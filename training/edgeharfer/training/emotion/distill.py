"""Targets for a student: the teachers' answers, joined label sets, and rare classes drawn more often.

The teachers are earlier runs. Faces with labels that are not to be trusted (such as photographs found by a
search for an expression) are added with the teachers' answers; such a label counts only where the teachers
find it more likely than it is on average. Faces of clips are added with the answers alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.action import read_frames
from edgeharfer.evaluate.dataset import CLIPS, Dataset, canonical, files_ending
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.align import FER_CROP, crop_face
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion.data import HeadTargets
from edgeharfer.training.emotion.faces import NO_LABEL, Faces, to_fer_format
from edgeharfer.training.emotion.kaggle import FER7, SIDE
from edgeharfer.training.emotion.networks import predict
from edgeharfer.training.records import RUN_MODEL

JOINED = ("angry", "disgust", "fear")
"""Classes that FER-2013's labels name more often than the FER+ voters, who say neutral, sad or surprise."""
SAMPLING_RANGE = (0.3, 5.0)
"""Least and greatest chance of a face to be drawn, of the mean."""
CLIP_INTERVAL_S = 0.15
"""Time between the faces that are read from a clip."""
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Teacher:
    """A finished run that teaches.

    Attributes:
        folder: Folder of the run.
        weight: Weight of its probabilities among the teachers.
    """

    folder: Path
    weight: float = 1.0

    def probabilities(self, pictures: Image) -> dict[str, Floats]:
        """Return head -> calibrated probabilities (n, classes) of grey faces, uint8 (n, 48, 48).

        Logits are means of the face and its mirror image.

        Raises:
            ConfigError: The folder holds no finished emotion run.
        """
        try:
            facts = json.loads((self.folder / "package.json").read_text(encoding="utf-8"))
            spec = InputSpec(**facts["input"])
            temperatures = {one["head"]: one["temperature"] for one in facts["packages"].values()}
            model = keras.models.load_model(self.folder / RUN_MODEL)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--teacher {self.folder}: no finished emotion run: {error}") from error
        logits, mirrored = (predict(model, faces, spec) for faces in (pictures, pictures[:, :, ::-1]))
        return {
            head: softmax(np.mean([logits[head], mirrored[head]], axis=0, dtype=np.float32), temperature)
            for head, temperature in temperatures.items()
        }


def parse_teacher(text: str) -> Teacher:
    """Parse DIR or DIR=WEIGHT.

    Raises:
        ConfigError: The weight is not a number above 0.
    """
    folder, sign, weight = text.rpartition("=")
    if not sign:
        return Teacher(Path(text))
    try:
        teacher = Teacher(Path(folder), float(weight))
    except ValueError:
        teacher = Teacher(Path(folder), 0)
    if not teacher.weight > 0:
        raise ConfigError(f"--teacher {text}: expected DIR=WEIGHT with a weight above 0")
    return teacher


def teach(teachers: Sequence[Teacher], pictures: Image) -> dict[str, Floats]:
    """Return the weighted mean of the teachers' probabilities by head; heads that one lacks are left out."""
    answers = [teacher.probabilities(pictures) for teacher in teachers]
    weights = [teacher.weight for teacher in teachers]
    heads = [head for head in answers[0] if all(head in answer for answer in answers)]
    return {
        head: np.average([answer[head] for answer in answers], axis=0, weights=weights).astype(np.float32)
        for head in heads
    }


def read_uncertain(path: Path, detector: Detector) -> Faces:
    """Read photographs in folders by class, whose labels are uncertain.

    Returns:
        Faces with indices into `ferplus.LABELS`, cropped as at run time where a face was found.

    Raises:
        SourceError: A folder is not a class, or there are no pictures.
    """
    names, labels, pictures, aligned = [], [], [], []
    data = Dataset(path)
    for sample in data.samples:
        label = canonical(sample.label)
        if label not in ferplus.LABELS:
            raise SourceError(f"{path}: {sample.label} is none of {', '.join(ferplus.LABELS)}")
        try:
            picture = decode_image(data.read(sample), sample.name)
        except SourceError:
            continue
        face = find_face(picture, detector)
        names.append(sample.name)
        labels.append(ferplus.LABELS.index(label))
        pictures.append(to_fer_format(picture))
        aligned.append(to_fer_format(crop_portrait(picture, face, FER_CROP, (SIDE, SIDE))))
    return Faces(names, np.stack(pictures), np.array(labels, np.int64), np.stack(aligned))


def read_unlabelled(folder: Path, detector: Detector) -> Faces:
    """Read the largest face every CLIP_INTERVAL_S of all clips below a folder.

    Returns:
        Faces with the label NO_LABEL, cropped as at run time.

    Raises:
        SourceError: A clip cannot be read, or there is no face.
    """
    names, crops = [], []
    for path in with_progress(files_ending(folder, CLIPS), "reading clips"):
        due_s = 0.0
        for frame in read_frames(path):
            if frame.pts_s < due_s:
                continue
            due_s = frame.pts_s + CLIP_INTERVAL_S
            faces = detector.detect(frame.bgr)
            if faces:
                largest = max(faces, key=lambda face: face.box.width)
                crops.append(to_fer_format(crop_face(frame.bgr, largest, FER_CROP, (SIDE, SIDE))))
                names.append(f"{path.name} {frame.pts_s:.2f}")
    if not crops:
        raise SourceError(f"{folder}: no clips with faces in this folder")
    pictures = np.stack(crops)
    return Faces(names, pictures, np.full(len(crops), NO_LABEL, np.int64), pictures)


def join_labels(targets: HeadTargets, labels: NDArray[np.int64], share: float) -> None:
    """Mix FER-2013's labels of the classes JOINED into the targets of the votes, in place.

    Args:
        targets: Targets of both heads.
        labels: Indices into FER7.
        share: Share of the label; rows without votes stay zero.
    """
    votes = targets.by_head.get("fer8")
    if votes is None or not share:
        return
    joined = np.isin(labels, [FER7.index(name) for name in JOINED]) & (votes.sum(axis=1) > 0)
    own = np.eye(votes.shape[1], dtype=np.float32)[labels]
    votes[joined] = (1 - share) * votes[joined] + share * own[joined]


def distil(targets: HeadTargets, answers: Mapping[str, Floats], share: float) -> None:
    """Mix the teachers' answers into the targets, in place.

    A row without a target becomes the answer alone, multiplied by the share.
    """
    for head, rows in targets.by_head.items():
        if head in answers:
            rows[:] = (1 - share) * rows + share * answers[head]


def inform_answers(
    answers: Mapping[str, Floats], targets: HeadTargets, labels: NDArray[np.int64], share: float
) -> dict[str, Floats]:
    """Combine the teachers' answers for FER-2013's label with what the FER+ votes say about it.

    How likely each label is, given the votes alone, is estimated by logistic regression. Only training faces
    have votes, which is privileged information (Lopez-Paz et al. 2016, arXiv:1511.03643).

    Args:
        answers: Head -> the teachers' probabilities, the training faces first.
        targets: Distribution of the votes of the training faces, as head "fer8"; zeros are no votes.
        labels: Labels of the training faces, indices into FER7.
        share: Exponent of the votes' estimate in a geometric mean, from 0 to 1; the answers have the rest.

    Returns:
        The answers, changed for head "fer7" and training faces with votes.
    """
    votes = targets.by_head.get("fer8")
    if not share or votes is None or "fer7" not in answers:
        return dict(answers)
    # Imported here, since it takes a second and few trainings need it.
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(votes.sum(axis=1) > 0)
    shares = votes[rows] / votes[rows].sum(axis=1, keepdims=True)
    model = LogisticRegression(C=10.0, max_iter=1000).fit(shares, labels[rows])
    estimate = np.zeros((len(rows), len(FER7)))
    estimate[:, model.classes_] = model.predict_proba(shares)
    own, of_votes = (np.log(np.maximum(probs, 1e-6)) for probs in (answers["fer7"][rows], estimate))
    informed = answers["fer7"].copy()
    informed[rows] = softmax(np.asarray((1 - share) * own + share * of_votes, np.float32))
    return {**answers, "fer7": informed}


@dataclass(frozen=True, eq=False)
class UncertainTargets:
    """Targets for faces with uncertain labels.

    Attributes:
        targets: Head -> targets (n, classes). Where the label does not count they are the answers, at their
            share; zeros for a head without answers.
        counted: Whether the label of each face counts, (n,).
    """

    targets: dict[str, Floats]
    counted: NDArray[np.bool_]


def uncertain_targets(
    labels: NDArray[np.int64],
    answers: Mapping[str, Floats],
    means: Mapping[str, Shares],
    share: float,
    lift: float,
) -> UncertainTargets:
    """Make targets for faces with uncertain labels.

    Args:
        labels: Indices into `ferplus.LABELS`, or NO_LABEL.
        answers: Head -> the teachers' probabilities (n, classes).
        means: Head -> shares of the classes in training.
        share: Share of the teachers' answers in the targets.
        lift: A label counts where a head finds it this many times as likely as on average.
    """
    row = np.arange(len(labels))
    lifts = np.full(len(labels), -np.inf)
    classed = {head: (labels != NO_LABEL) & (labels < answer.shape[1]) for head, answer in answers.items()}
    for head, answer in answers.items():
        known = classed[head]
        likely = answer[row[known], labels[known]] / means[head][labels[known]]
        lifts[known] = np.maximum(lifts[known], likely)
    counted = lifts >= lift
    result = {head: np.zeros((len(labels), len(shares)), np.float32) for head, shares in means.items()}
    for head, answer in answers.items():
        counts = counted & classed[head]
        rows = share * answer
        rows[row[counts], labels[counts]] += 1 - share
        result[head] = np.asarray(rows, np.float32)
    return UncertainTargets(result, counted)


def sampling_chances(targets: HeadTargets, means: Mapping[str, Shares], power: float) -> Shares:
    """Return the chance of each face to be drawn, which falls with the share of its classes to `power`."""
    weights = np.zeros(len(next(iter(targets.by_head.values()))))
    for head, rows in targets.by_head.items():
        rarity = (rows / means[head] ** power).sum(axis=1)
        weights += rarity / np.maximum(rows.sum(axis=1), 1e-6)
    weights = np.clip(weights / weights.mean(), *SAMPLING_RANGE)
    return np.asarray(weights / weights.sum())


def with_more_chances(chances: Shares | None, number: int, more: int, share: float) -> Shares:
    """Return the chances of `number` faces, or equal ones, and of `more` that are drawn in this share."""
    of_faces = np.full(number, 1 / number) if chances is None else chances
    return np.concatenate([(1 - share) * of_faces, np.full(more, share / more)])


def class_shares(targets: HeadTargets, chances: Shares | None = None) -> dict[str, Shares]:
    """Return head -> shares of the classes, of all faces alike or as they are drawn."""
    found = {}
    for head, rows in targets.by_head.items():
        total = (rows if chances is None else rows * chances[:, None]).sum(axis=0, dtype=np.float64)
        found[head] = np.maximum(total, 1e-9) / max(float(total.sum()), 1e-9)
    return found


def bias_offsets(
    targets: HeadTargets, answers: Mapping[str, Floats], means: Mapping[str, Shares], chances: Shares
) -> dict[str, Floats]:
    """Return head -> what its biases lack because faces of rare classes are drawn more often.

    Labels are then more often of rare classes than a face of the same looks is in the data; teachers' answers
    for a face are the same however often it is drawn. So the shares of the targets as drawn are compared with
    those of the answers, or with `means` for a head without answers.

    Args:
        targets: Targets of all faces.
        answers: Head -> the teachers' probabilities for them.
        means: Head -> shares of the classes in the data.
        chances: Chance of each face to be drawn.
    """
    weighed = {
        head: rows * targets.by_head[head].sum(axis=1, keepdims=True)
        for head, rows in answers.items()
        if head in targets.by_head
    }
    expected = {**means, **class_shares(HeadTargets(weighed), chances)}
    return {
        head: np.log(expected[head] / taught).astype(np.float32)
        for head, taught in class_shares(targets, chances).items()
    }


def correct_biases(model: keras.Model, offsets: Mapping[str, Floats]) -> None:
    """Add offsets to the biases of the heads, in place."""
    for head, offset in offsets.items():
        kernel, bias = model.get_layer(head).get_weights()
        model.get_layer(head).set_weights([kernel, bias + offset])

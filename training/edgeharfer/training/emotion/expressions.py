"""Faces with other expressions, made by moving brows, lids and lips, and by drawing furrows.

Data sets have few faces that are angry with closed lips, afraid or contemptuous, and voters call weak ones
neutral. The Facial Action Coding System (Ekman & Friesen 1978; Ekman, Friesen & Hager 2002) describes an
expression by the muscles that move, its action units. Here a unit moves points of the face, and what lies
between them moves along and is furrowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion.face_mesh import FaceMesh
from edgeharfer.training.emotion.faces import NO_LABEL, Faces

# Vertices of MediaPipe's face mesh. Pairs are of the left and the right side of the picture; brows run from
# their outer to their inner end, lips from left to right.
_UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409), (191, 80, 81, 82, 13, 312, 311, 310, 415)
_LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375), (95, 88, 178, 87, 14, 317, 402, 318, 324)
_CORNERS = (61, 78), (291, 308)
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_UPPER_LIDS = (161, 160, 159, 158, 157), (388, 387, 386, 385, 384)
_LOWER_LIDS = (163, 144, 145, 153, 154), (390, 373, 374, 380, 381)
_EYE_CORNERS = (33, 133), (263, 362)
_CHEEKS = (50, 205), (280, 425)
_NOSTRILS = (98, 327, 2, 48, 278)
_NOSE = (1, 4, 5, 195)
_CHIN = (152, 148, 377, 176, 400)
_FOLDS = (129, 203, 206, 216), (358, 423, 426, 436)
_PAIRS = (
    _UPPER_LIP, _LOWER_LIP, _CORNERS, _BROWS, _UPPER_LIDS, _LOWER_LIDS, _EYE_CORNERS, _CHEEKS,
)  # fmt: skip
_POINTS = (*(point for first, second in _PAIRS for point in (*first, *second)), *_NOSTRILS, *_NOSE, *_CHIN)
_ROW = {vertex: row for row, vertex in enumerate(_POINTS)}
Numbers = NDArray[np.float64]

_INWARDS = 1, -1
"""Direction towards the middle of the face, of its left and right side in the picture."""

_BROW = np.tile(np.linspace(0, 1, 5), 2)
"""Position along a brow, from its outer to its inner end."""
_LID = np.array([0.6, 0.9, 1, 0.9, 0.6])
_LIP = 1 - 0.6 * np.abs(np.linspace(-1, 1, 9))
"""How far lid and lip move at each of their points, relative to the middle."""
_CORNER_PULL = 0.8 * np.clip(np.linspace(1, -1, 9), 0, 1) ** 1.2
"""How far the lips move along with their left corner."""


def _units() -> dict[str, Floats]:
    """Return action unit -> how far it moves each point to the right and down, in distances of the eyes.

    Sizes were set by eye, so that a unit is strong but still natural.
    """
    units: dict[str, Floats] = {}

    def move(
        unit: str, points: Sequence[int], down: Numbers | float = 0.0, right: Numbers | float = 0.0
    ) -> None:
        moves = units.setdefault(unit, np.zeros((len(_POINTS), 2), np.float32))
        rows = [_ROW[point] for point in points]
        moves[rows, 0] += right
        moves[rows, 1] += down

    def move_corner(unit: str, side: int, down: float, inwards: float) -> None:
        right = inwards * _INWARDS[side]
        move(unit, _CORNERS[side], down, right)
        pull = _CORNER_PULL if side == 0 else _CORNER_PULL[::-1]
        for lip in (*_UPPER_LIP, *_LOWER_LIP):
            move(unit, lip, pull * down, pull * right)

    for side, name in enumerate(("left", "right")):
        inwards = _INWARDS[side]
        cheek, lower_cheek = ((point,) for point in _CHEEKS[side])
        move("1", _BROWS[side], -0.16 * _BROW**1.5)  # inner brow raiser
        move("1", _UPPER_LIDS[side], -0.01 * _LID)
        move("2", _BROWS[side], -0.16 * (1 - _BROW) ** 0.8)  # outer brow raiser
        move("4", _BROWS[side], 0.11 * (0.45 + 0.55 * _BROW), 0.05 * inwards * _BROW)  # brow lowerer
        move("4", _UPPER_LIDS[side], 0.02 * _LID)
        move("5", _UPPER_LIDS[side], -0.055 * _LID)  # upper lid raiser
        move("7", _UPPER_LIDS[side], 0.02 * _LID)  # lid tightener
        move("7", _LOWER_LIDS[side], -0.035 * _LID)
        move("7", cheek, -0.02)
        move_corner(f"12 {name}", side, -0.12, -0.06)  # lip corner puller
        move(f"12 {name}", cheek, -0.05)
        move(f"12 {name}", lower_cheek, -0.06, -0.02 * inwards)
        move_corner(f"14 {name}", side, 0, -0.05)  # dimpler
        move_corner("15", side, 0.10, 0)  # lip corner depressor
        move_corner("20", side, 0.02, -0.12)  # lip stretcher
        move("20", lower_cheek, right=-0.03 * inwards)
        move_corner("24", side, 0, 0.05)  # lip pressor
    move("9", _NOSTRILS, -0.05)  # nose wrinkler
    move("10", _NOSTRILS, -0.03)  # upper lip raiser
    move("17", _CHIN, -0.03)  # chin raiser
    move("26", _CHIN, 0.10)  # jaw drop
    for (outer, inner), moves in (
        (_UPPER_LIP, {"10": (-0.09, 0.6), "24": (0.055, 0.6)}),
        (_LOWER_LIP, {"17": (-0.08, 0.6), "24": (-0.06, 0.6), "26": (0.14, 1)}),
    ):
        for unit, (down, share) in moves.items():
            move(unit, outer, down * _LIP)
            move(unit, inner, share * down * _LIP)
    return units


_UNITS = _units()
_FURROWS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "4": ((107, 55), (336, 285)),  # between the brows
    "9": ((122, 6, 351), (196, 197, 419), *_FOLDS),  # across the root of the nose
    "10": _FOLDS,  # from the nose to the corners of the lips
    "12 left": _FOLDS[:1],
    "12 right": _FOLDS[1:],
    "14 left": ((186, 57, 43),),  # beside the corners of the lips
    "14 right": ((410, 287, 273),),
}
"""Action unit -> lines along which it furrows the face, as vertices."""
_DEPTH = 0.2
"""How much darker a furrow of strength 1 is than the face, as a fraction."""
_MAX_DEPTH = 0.35
"""The most that furrows darken a face, where they cross or are strong."""
_FURROW_WIDTH = 0.045
"""Width of a furrow (standard deviation), in distances of the eyes."""
_RADIUS = 0.2
"""How far around a point the face moves along (standard deviation), in distances of the eyes."""
_SMOOTHNESS = 0.08
"""Regularisation of the interpolation; without it, close points that move apart tear the face."""
_ENLARGED = 4
"""Factor by which a face is enlarged while it is changed."""


@dataclass(frozen=True)
class Prototype:
    """How faces of one class get an expression.

    Attributes:
        chance: Chance of this prototype.
        source: Class of the faces that are changed, one of `ferplus.LABELS`.
        expression: The resulting class; None where the teachers alone say what it is.
        units: Action units and their strengths.
    """

    chance: float
    source: str
    expression: str | None
    units: Mapping[str, float]


_BROWS_DOWN = {"4": 1.0, "7": 0.9}
PROTOTYPES = (
    # Anger with closed lips: pressed together, or with the chin raised.
    Prototype(0.12, "neutral", "angry", {**_BROWS_DOWN, "24": 1}),
    Prototype(0.08, "neutral", "angry", {**_BROWS_DOWN, "24": 0.6, "17": 1}),
    Prototype(0.07, "neutral", "angry", {**_BROWS_DOWN, "24": 0.8, "17": 0.4, "15": 0.3, "5": 0.3}),
    # Disgust wrinkles the nose and raises the upper lip; faces that show it get other lips and brows.
    Prototype(0.06, "neutral", "disgust", {"4": 0.6, "7": 1, "9": 1, "10": 0.9}),
    Prototype(0.05, "neutral", "disgust", {"4": 0.8, "7": 1, "9": 1, "10": 0.5, "17": 0.8}),
    Prototype(0.03, "neutral", "disgust", {"7": 0.6, "9": 0.7, "10": 1.2, "26": 0.3}),
    Prototype(0.02, "disgust", "disgust", {"4": 0.4, "17": 0.6, "26": -0.3}),
    Prototype(0.02, "disgust", "disgust", {"4": 0.3, "7": 0.3, "9": 0.3, "10": 0.3}),
    # Fear with closed and with open lips: those of a smile are stretched and lowered.
    Prototype(0.06, "neutral", "fear", {"1": 1, "2": 0.5, "4": 0.7, "5": 1, "20": 1, "26": 0.5}),
    Prototype(0.04, "surprise", "fear", {"1": 0.3, "4": 0.8, "5": 0.4, "20": 1.1, "26": -0.5}),
    Prototype(0.04, "happy", "fear",
              {"1": 1, "2": 0.5, "4": 0.7, "5": 1, "12 left": -1.1, "12 right": -1.1, "20": 0.7, "26": 0.2}),
    # Contempt raises or dimples one corner of the lips, or dimples both.
    Prototype(0.05, "neutral", "contempt", {"12 left": 1, "14 left": 1}),
    Prototype(0.05, "neutral", "contempt", {"12 right": 1, "14 right": 1}),
    Prototype(0.03, "neutral", "contempt", {"14 left": 1.4, "14 right": 1.4, "24": 0.3}),
    Prototype(0.07, "neutral", "sad", {"1": 1, "4": 0.5, "15": 1, "17": 0.5}),
    Prototype(0.04, "neutral", "surprise", {"1": 1, "2": 1, "5": 0.8, "26": 1.2}),
    # A few weak units that are no expression of their own.
    Prototype(0.07, "neutral", None, {}),
    Prototype(0.04, "sad", None, {}),
    Prototype(0.03, "happy", None, {}),
    Prototype(0.03, "surprise", None, {}),
)  # fmt: skip
"""Prototypes of the expressions (Ekman, Friesen & Hager 2002; Lucey et al. 2010, table 1)."""
MIN_VOTES = {"neutral": 0.5, "sad": 0.5, "surprise": 0.6, "happy": 0.75, "disgust": 0.4}
"""Least probability of its class for a face that is changed."""
MIN_PRESENCE, MAX_YAW = 0.9, 0.17
"""Least probability of a face, and largest distance of the tip of the nose from the middle of the eyes, along
the line between them and as a fraction of it."""
MIN_EYE_DISTANCE, MAX_EYE_DISTANCE = 9 / 48, 30 / 48
"""Range of the distance between the outer corners of the eyes, as a fraction of the side."""
STRENGTHS = 0.5, 1.7
"""Range of the factor by which the units of an expression are multiplied."""
WEAK_UNITS, WEAKNESS = (1, 3), 0.5
"""Number of units without an expression of their own, and their largest strength."""
JITTER = 0.25
"""Largest change of each unit, as a fraction."""
NEUTRAL_BELOW, CERTAIN_FROM = 0.5, 1.15
"""Strengths up to which an expression adds nothing to the target, and from which on it has its full share."""
SHARES = {"angry": 0.75, "disgust": 0.7, "fear": 0.64, "contempt": 0.75, "sad": 0.45, "surprise": 0.45}
"""Greatest share of an expression in the target; the teachers' answers have the rest."""


@dataclass(frozen=True, eq=False)
class MadeFaces:
    """Faces with made expressions.

    Attributes:
        faces: The faces, with the label NO_LABEL.
        expressions: Indices into `ferplus.LABELS`, or NO_LABEL, (n,).
        shares: Share of the expression in the target of each face, (n,).
    """

    faces: Faces
    expressions: NDArray[np.int64]
    shares: Floats

    def targets(self, answers: Mapping[str, Floats]) -> dict[str, Floats]:
        """Mix the expressions into the teachers' answers.

        Args:
            answers: Head -> probabilities (n, classes).

        Returns:
            The same with the expressions; zeros for faces whose expression the head does not know.
        """
        result = {}
        for head, answer in answers.items():
            made = self.expressions != NO_LABEL
            known = made & (self.expressions < answer.shape[1])
            rows = (1 - self.shares[:, None]) * answer
            rows[known, self.expressions[known]] += self.shares[known]
            rows[made & ~known] = 0
            result[head] = np.asarray(rows, np.float32)
        return result


def make_expressions(
    faces: Faces, votes: Floats, number: int, mesh: FaceMesh, rng: np.random.Generator
) -> MadeFaces:
    """Change the expressions of faces that look into the camera.

    Args:
        faces: Faces to change, as cropped at run time.
        votes: Probabilities of `ferplus.LABELS`, (n, 8), of the first n faces; only these are changed.
        number: Number of faces to make.
        mesh: Finds the points of a face.
        rng: Random generator.

    Raises:
        ConfigError: There is no such face of a class.
    """
    pool = {source: _frontal(faces.aligned, votes, source, mesh) for source in MIN_VOTES}
    for source, found in pool.items():
        if not found:
            raise ConfigError(f"expressions: no {source} training face looks into the camera")
    pictures = np.empty((number, *faces.aligned.shape[1:]), np.uint8)
    expressions = np.full(number, NO_LABEL, np.int64)
    shares = np.zeros(number, np.float32)
    chances = np.array([one.chance for one in PROTOTYPES])
    for at, drawn in enumerate(rng.choice(len(PROTOTYPES), number, p=chances / chances.sum())):
        prototype = PROTOTYPES[drawn]
        index, points = pool[prototype.source][rng.integers(len(pool[prototype.source]))]
        if prototype.expression is None:
            units = _weak_units(rng)
        else:
            strength = rng.uniform(*STRENGTHS)
            units = {
                unit: strength * size * rng.uniform(1 - JITTER, 1 + JITTER)
                for unit, size in prototype.units.items()
            }
            expressions[at] = ferplus.LABELS.index(prototype.expression)
            shares[at] = _share(prototype.expression, strength)
        pictures[at] = change_expression(faces.aligned[index], points, units)
    made = Faces(
        [f"expression {i}" for i in range(number)], pictures, np.full(number, NO_LABEL, np.int64), pictures
    )
    return MadeFaces(made, expressions, shares)


def _weak_units(rng: np.random.Generator) -> dict[str, float]:
    names = rng.choice(list(_UNITS), rng.integers(*WEAK_UNITS, endpoint=True), replace=False)
    return {str(name): rng.uniform(0, WEAKNESS) for name in names}


def _share(expression: str, strength: float) -> float:
    """Return the share of an expression in the target of a face."""
    rise = (strength - NEUTRAL_BELOW) / (CERTAIN_FROM - NEUTRAL_BELOW)
    return SHARES[expression] * float(np.clip(rise, 0, 1))


def change_expression(face: Image, points: Floats, units: Mapping[str, float]) -> Image:
    """Move the points of a face and draw its furrows.

    Args:
        face: Grey, uint8 (side, side).
        points: Pixel coordinates of the face mesh, (468, 2).
        units: Action unit -> strength; negative strengths move the other way.
    """
    side = len(face)
    size = _ENLARGED * side
    moves = _Displacements(points, units)
    grid = np.arange(0.5, side, 2)
    coarse = moves.at(np.stack(np.meshgrid(grid, grid), axis=-1))
    field = cv2.resize(coarse, (size, size)) * _ENLARGED
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    enlarged = cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)
    changed = cv2.remap(
        enlarged, columns - field[..., 0], rows - field[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    moved = (points + moves.at(points) + 0.5) * _ENLARGED
    shaded = changed * (1 - _shade(moved, units, size, _ENLARGED * moves.eye_distance))
    return np.asarray(cv2.resize(shaded, (side, side), interpolation=cv2.INTER_AREA).round(), np.uint8)


class _Displacements:
    """How far a face moves: interpolated between its points with Gaussians (radial basis functions).

    Args:
        points: Pixel coordinates of the face mesh, (468, 2).
        units: Action unit -> strength.

    Attributes:
        eye_distance: Distance of the eyes in pixels.
    """

    def __init__(self, points: Floats, units: Mapping[str, float]) -> None:
        left, right = (
            points[[*corners, upper[2], lower[2]]].mean(axis=0)
            for corners, upper, lower in zip(_EYE_CORNERS, _UPPER_LIDS, _LOWER_LIDS, strict=True)
        )
        across = right - left
        self.eye_distance = float(np.hypot(*across))
        axes = np.stack([across, [-across[1], across[0]]])  # of the face, as long as the distance of the eyes
        of_units = [strength * _UNITS[unit] for unit, strength in units.items()]
        moves = np.sum([np.zeros((len(_POINTS), 2)), *of_units], axis=0) @ axes
        self._moved = points[list(_POINTS)] + moves
        self._radius = _RADIUS * self.eye_distance
        kernel = _gaussians(self._moved, self._moved, self._radius) + _SMOOTHNESS * np.eye(len(_POINTS))
        self._weights = np.linalg.solve(kernel, moves)

    def at(self, places: Numbers | Floats) -> Floats:
        """Return how far each place (..., 2) of the changed face has moved, in pixels, (..., 2)."""
        moves = _gaussians(places.reshape(-1, 2), self._moved, self._radius) @ self._weights
        return np.asarray(moves.reshape(places.shape), np.float32)


def _shade(points: Floats, units: Mapping[str, float], size: int, eye_distance: float) -> Floats:
    """Return how much darker furrows make each pixel of a face, as a fraction, (size, size)."""
    width = _FURROW_WIDTH * eye_distance
    lines = np.zeros((size, size), np.float32)
    for unit, strength in units.items():
        for line in _FURROWS.get(unit, ()) if strength > 0 else ():
            drawn = np.zeros((size, size), np.float32)
            cv2.polylines(drawn, [points[list(line)].round().astype(np.int32)], False, strength)
            lines += drawn
    # A blurred line is as dark as a pixel of it, divided by the area under a Gaussian.
    blurred = cv2.GaussianBlur(lines, (0, 0), width) * (np.sqrt(2 * np.pi) * width)
    return np.asarray(np.minimum(_DEPTH * blurred, _MAX_DEPTH), np.float32)


def _gaussians(places: Numbers | Floats, centres: Numbers, radius: float) -> Numbers:
    """Return the weight of each centre (m, 2) at each place (n, 2), as (n, m)."""
    squares = np.square(places[:, None] - centres[None]).sum(axis=2)
    return np.asarray(np.exp(-squares / (2 * radius * radius)))


def _frontal(pictures: Image, votes: Floats, source: str, mesh: FaceMesh) -> list[tuple[int, Floats]]:
    """Return the faces of a class that look into the camera, with their points."""
    label = ferplus.LABELS.index(source)
    found = []
    for index in np.flatnonzero(votes[:, label] > MIN_VOTES[source]):
        points, presence = mesh.find(pictures[index])
        left, right, nose = points[_EYE_CORNERS[0][0]], points[_EYE_CORNERS[1][0]], points[_NOSE[0]]
        distance = float(np.hypot(*(right - left)))
        size = distance / len(pictures[index])
        if presence < MIN_PRESENCE or not MIN_EYE_DISTANCE < size < MAX_EYE_DISTANCE:
            continue
        yaw = (nose - (left + right) / 2) @ (right - left) / distance**2
        if abs(yaw) < MAX_YAW:
            found.append((int(index), points))
    return found

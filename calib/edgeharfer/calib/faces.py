"""Pictures of faces as an emotion model reads them: cropped as by `evaluate`, in the model's size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeharfer.calib.calibration_set import CalibrationSet, take_balanced
from edgeharfer.calib.data import CalibrationData, CalibrationSource, EvaluationData, Pair
from edgeharfer.evaluate.dataset import Dataset, LabelledFile
from edgeharfer.evaluate.emotion import match_votes
from edgeharfer.evaluate.ferplus import read_votes
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE, crop_portrait, find_face
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.preprocess import fit_image, match_color
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.types import Face, Image


class FaceCalibrationSource(CalibrationSource):
    """A folder or zip of pictures, labelled by their folders or by a table of FER+ votes."""

    def __init__(self, manifest: Manifest, path: Path, ferplus: Path | None = None) -> None:
        super().__init__(manifest, Dataset(path))
        self._votes = None if ferplus is None else read_votes(ferplus)
        self._detector: Detector | None = None

    def pairs(self, samples: Sequence[LabelledFile]) -> list[Pair]:
        if self._votes is None:
            return super().pairs(samples)
        return match_votes(samples, self._votes, self.manifest.labels)[0]

    def choose(self, groups: Mapping[str, Sequence[LabelledFile]], wanted: int, seed: int) -> CalibrationData:
        unique = {label: self._without_copies(samples, wanted) for label, samples in groups.items()}
        chosen: dict[str, list[str]] = defaultdict(list)
        pictures: list[Image] = []
        taken = take_balanced(unique, wanted)
        for label, items in taken.items():
            for digest, sample in with_progress(items, f"reading {label}"):
                if (picture := self.read(sample)) is not None:
                    chosen[label].append(digest)
                    pictures.append(picture)
        return CalibrationData(self.new_set(chosen, seed), self.stack(pictures))

    def _without_copies(self, samples: Sequence[LabelledFile], wanted: int) -> list[tuple[str, LabelledFile]]:
        """Return the first `wanted` distinct samples with their hashes."""
        found: dict[str, LabelledFile] = {}
        for sample in samples:
            found.setdefault(self.digest(sample), sample)
            if len(found) == wanted:
                break
        return list(found.items())

    def read_calibration(self, wanted: CalibrationSet, found: Mapping[str, LabelledFile]) -> CalibrationData:
        items = [item for items in wanted.items.values() for item in items]
        read = [self.read(found[item]) for item in with_progress(items, "reading the calibration set")]
        return CalibrationData(wanted, self.stack([picture for picture in read if picture is not None]))

    def read_evaluation(self, pairs: Sequence[Pair], scratch: Path) -> EvaluationData:
        pictures, truth, hashes = [], [], set()
        for sample, label in with_progress(pairs, "reading the evaluation data"):
            if (picture := self.read(sample)) is not None:
                pictures.append(picture)
                truth.append(label)
                hashes.add(self.digest(sample))
        return EvaluationData(self.stack(pictures), np.array(truth, np.int64), frozenset(hashes))

    def read(self, sample: LabelledFile) -> Image | None:
        """Read a face, uint8 (height, width, channels); None if the file cannot be read."""
        crop, spec = self.manifest.crop, self.manifest.input
        assert crop is not None, "an emotion manifest has a crop"
        try:
            picture = decode_image(self.data.read(sample), sample.name)
        except SourceError:
            return None
        face = crop_portrait(picture, self._find(picture), crop, (spec.width, spec.height))
        return match_color(fit_image(face, spec), spec)

    def _find(self, picture: Image) -> Face | None:
        """Detect the face as `EmotionModel` does: not for a model that was trained on whole pictures."""
        if self.manifest.options.get("portraits") != "cut":
            return None
        if self._detector is None:
            self._detector = make_detector("blazeface", min_score=MIN_PORTRAIT_SCORE)
        return find_face(picture, self._detector)

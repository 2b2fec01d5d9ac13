"""The default detector: BlazeFace for video, confirmed by YuNet, and YuNet for photographs.

BlazeFace follows a face at the lowest cost, but sometimes detects wrists, clocks and trees, and misses faces
that fill the image. YuNet gets both right. In a video YuNet only runs while there is a new face. In a
photograph BlazeFace refines each face that YuNet found, so that boxes and key points are the same as in
video, including the ears, if it detects the face: in 99 % of 562 photographs.
"""

from __future__ import annotations

from dataclasses import replace

from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region, square_region
from edgeharfer.runtime.faces.detectors import blazeface, yunet
from edgeharfer.runtime.faces.overlap import same_face
from edgeharfer.runtime.types import Face, Image

REFINE_REGION_SIDES = 3.0
"""Side of the region in which BlazeFace refines a face of a photograph, in sides of YuNet's box.

With 2.5 sides it detects 98 % of those faces. The default emotion model is right for 43.7 % of them with 2.5
sides, 44.7 % with 3 and 45.7 % with 4, which is within chance; more sides make the key points less precise.
"""


def load(options: DetectorOptions) -> AutoDetector:
    """Load both models. YuNet always runs on the CPU: it is small and rarely needed."""
    on_cpu = replace(options.backend, provider="cpu", device=None)
    return AutoDetector(blazeface.load(options), yunet.load(replace(options, backend=on_cpu)))


class AutoDetector(Detector):
    """Use one detector for video, and another for photographs and to confirm new faces.

    Args:
        video: Detector for video.
        confirming: Detector for photographs and second opinions.
    """

    def __init__(self, video: Detector, confirming: Detector) -> None:
        self._video, self._confirming = video, confirming

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """Detect faces with the detector for video."""
        return self._video.detect(bgr, region, close_up=close_up)

    @property
    def provider(self) -> str:
        """Provider of the detector for video."""
        return self._video.provider

    @property
    def for_photographs(self) -> Detector:
        """The confirming detector, refined by the one for video."""
        return RefiningDetector(self._confirming.for_photographs, self._video)

    @property
    def second_opinion(self) -> Detector | None:
        """The confirming detector."""
        return self._confirming

    def warm_up(self) -> None:
        """Run both once, so that the first frame is as fast as the others."""
        self._video.warm_up()
        self._confirming.warm_up()

    def close(self) -> None:
        """Close both detectors."""
        self._video.close()
        self._confirming.close()


class RefiningDetector(Detector):
    """Detect faces with one detector and take boxes and key points from another one where it agrees.

    Args:
        finder: Detects the faces and gives their scores.
        refiner: Gives boxes and key points.
    """

    def __init__(self, finder: Detector, refiner: Detector) -> None:
        self._finder, self._refiner = finder, refiner

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """See `Detector.detect`; scores are the finder's."""
        return [self._refined(bgr, face) for face in self._finder.detect(bgr, region, close_up=close_up)]

    def _refined(self, bgr: Image, face: Face) -> Face:
        seen = self._refiner.detect(bgr, square_region(face.box, REFINE_REGION_SIDES))
        better = max(seen, key=lambda other: other.box.iou(face.box), default=None)
        if better is None or not same_face(better.box, face.box):
            return face
        return replace(better, score=face.score)

    @property
    def provider(self) -> str:
        """Provider of the finder."""
        return self._finder.provider

    @property
    def needs_tiles(self) -> bool:
        """Whether the finder needs tiles."""
        return self._finder.needs_tiles

    def warm_up(self) -> None:
        """Run both once."""
        self._finder.warm_up()
        self._refiner.warm_up()

    def close(self) -> None:
        """Close both detectors."""
        self._finder.close()
        self._refiner.close()

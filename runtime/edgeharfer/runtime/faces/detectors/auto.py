"""The default: BlazeFace for video, with YuNet as the second opinion, and YuNet for photographs.

BlazeFace follows a face with the least work, but takes wrists, clocks and trees for faces now and then, and
misses faces that fill the picture. YuNet sees both rightly. In a video it costs something only while there
is a new face.
"""

from __future__ import annotations

from dataclasses import replace

from edgeharfer.runtime.faces.detector import Detector, DetectorOptions, Region
from edgeharfer.runtime.faces.detectors import blazeface, yunet
from edgeharfer.runtime.types import Face, Image


def load(options: DetectorOptions) -> AutoDetector:
    """Both models. YuNet runs on the CPU whatever the provider: it is small and rarely needed."""
    return AutoDetector(blazeface.load(options), yunet.load(replace(options, provider="cpu", at_once=False)))


class AutoDetector(Detector):
    """A detector for video, and another one for photographs and for a second opinion on new faces."""

    def __init__(self, video: Detector, other: Detector) -> None:
        self._video, self._other = video, other

    def detect(self, bgr: Image, region: Region | None = None, *, closely: bool = False) -> list[Face]:
        """Faces of the frame, or of one region of it, as the detector for video finds them."""
        return self._video.detect(bgr, region, closely=closely)

    @property
    def provider(self) -> str:
        """Where the detector for video runs, in ONNX Runtime's words."""
        return self._video.provider

    @property
    def photographs(self) -> Detector:
        """The other detector, as it sees photographs."""
        return self._other.photographs

    @property
    def second_opinion(self) -> Detector | None:
        """The other detector."""
        return self._other

    def warm_up(self) -> None:
        """Run both once, so that the first frame is not slower than the rest."""
        self._video.warm_up()
        self._other.warm_up()

    def close(self) -> None:
        """Free both."""
        self._video.close()
        self._other.close()

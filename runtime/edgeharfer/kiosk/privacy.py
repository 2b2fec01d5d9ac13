"""Privacy rules: refused purposes, the notice, random names, ignored zones and blurred faces.

The rules follow Regulation (EU) 2024/1689, the AI Act. Nothing here is legal advice.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeharfer.kiosk.config import REFUSED_PURPOSES, KioskConfig, Zone
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Box, Frame, Image, TrackedFace

if TYPE_CHECKING:
    from edgeharfer.runtime.pipeline import Pipeline

BLUR_CELLS = 6
"""Squares per side of a blurred face, too few to recognise anybody."""
BLUR_MARGIN = 0.2
ID_BYTES = 4
MAX_DECLINED_S = 300.0
"""A refusal lasts at most this long, so that an object that looks like a face does not prolong it forever."""


def check_purpose(config: KioskConfig) -> None:
    """Check that emotions may be recognised for the purpose of the site.

    Raises:
        ConfigError: The AI Act prohibits it.
    """
    purpose = config.site.purpose
    if purpose in REFUSED_PURPOSES and config.models.emotion != "off":
        raise ConfigError(
            f'site.purpose = "{purpose}": emotion recognition is refused. Regulation (EU) 2024/1689 (AI Act) '
            "Art. 5(1)(f) prohibits inferring emotions in the workplace and in education, except for medical "
            "or safety reasons, and Art. 50(3) requires informing the people exposed. Seek legal advice, or "
            'set models.emotion = "off" to recognise actions only'
        )


class PrivacyNotice:
    """The privacy notice: tasks that read faces are off until it is confirmed on the screen.

    After a visitor declined, all tasks are off until they have left. The faces in view are still counted.

    Args:
        required: Whether a confirmation is needed.
        forget_s: The confirmation expires after this long with nobody in view.
        decline_forget_s: The same for a refusal.
        clock: The clock.
    """

    def __init__(
        self, *, required: bool, forget_s: float, clock: Clock, decline_forget_s: float = 10.0
    ) -> None:
        self._required, self._forget_s, self._clock = required, forget_s, clock
        self._decline_forget_s = decline_forget_s
        self._confirmed, self._declined_s = False, -math.inf
        self._seen_s = clock.monotonic()

    @property
    def given(self) -> bool:
        """Whether tasks may read faces."""
        recent = self._clock.monotonic() - self._seen_s <= self._forget_s
        return not self.declined and ((self._confirmed and recent) or not self._required)

    @property
    def declined(self) -> bool:
        """Whether a visitor declined who may still be here."""
        now_s = self._clock.monotonic()
        return now_s - self._declined_s < MAX_DECLINED_S and now_s - self._seen_s <= self._decline_forget_s

    def confirm(self) -> None:
        """Record a confirmation."""
        self._confirmed, self._declined_s = True, -math.inf
        self._seen_s = self._clock.monotonic()

    def decline(self) -> None:
        """Record a refusal."""
        self._confirmed = False
        self._declined_s = self._seen_s = self._clock.monotonic()

    def observe(self, people: int) -> None:
        """Record how many people are in view."""
        self._confirmed = self._confirmed and self.given
        if not self.declined:  # otherwise the next visitor would renew it
            self._declined_s = -math.inf
        if people:
            self._seen_s = self._clock.monotonic()

    def apply(self, pipeline: Pipeline) -> None:
        """Switch tasks on or off, before a frame is processed."""
        off = frozenset() if self.given else pipeline.face_tasks
        if self.declined:
            off |= pipeline.models.keys()
        for name in off - pipeline.disabled:
            pipeline.disable(name)
        for name in pipeline.disabled - off:
            pipeline.enable(name)


class EphemeralIds:
    """Random names for tracks, forgotten with the track, so that events cannot be linked to a person."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def name(self, track: int) -> str:
        """The name of a track in view."""
        return self._names.setdefault(track, secrets.token_hex(ID_BYTES))

    def retain(self, tracks: Collection[int]) -> None:
        """Forget all other tracks."""
        self._names = {track: name for track, name in self._names.items() if track in tracks}


def hide_zones(frame: Frame, zones: Sequence[Zone]) -> Frame:
    """Blacken the zones of a frame; without zones, the frame itself is returned."""
    if not zones:
        return frame
    hidden = frame.bgr.copy()
    rows, columns = hidden.shape[:2]
    for left, top, width, height in zones:
        across = slice(int(left * columns), int(np.ceil((left + width) * columns)))
        hidden[int(top * rows) : int(np.ceil((top + height) * rows)), across] = 0
    return frame.with_picture(hidden)


def blur_faces(bgr: Image, faces: Sequence[TrackedFace]) -> Image:
    """A copy of the picture with pixelated faces.

    Args:
        bgr: (height, width, 3), uint8.
        faces: Faces with boxes in pixels.
    """
    blurred = bgr.copy()
    for face in faces:
        _pixelate(blurred, face.box)
    return blurred


def _pixelate(image: Image, box: Box) -> None:
    rows, columns = image.shape[:2]
    across, down = box.width * BLUR_MARGIN, box.height * BLUR_MARGIN
    left, right = int(max(0, box.x - across)), int(min(columns, box.x + box.width + across))
    top, bottom = int(max(0, box.y - down)), int(min(rows, box.y + box.height + down))
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    coarse = cv2.resize(part, (BLUR_CELLS, BLUR_CELLS), interpolation=cv2.INTER_AREA)
    size = right - left, bottom - top
    image[top:bottom, left:right] = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)

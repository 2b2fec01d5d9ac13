"""The demo source: two moving photographs, rendered at run time, so that no camera or file is needed.

The portrait is NASA's official one of the astronaut Eileen Collins, in the public domain, as
scikit-image distributes it (skimage.data.astronaut), cropped to head and shoulders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.source.base import BaseSource, Source, SourceOptions
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.opencv import describe
from edgeharfer.runtime.types import Floats, Frame, Image

WIDTH, HEIGHT, FPS = 640, 480, 30.0
_PORTRAIT = "demo_portrait.jpg"
_CORNER, _BORDER, _MARGIN = 18, 4, 22  # of a card, in pixels of the portrait
_BORDER_BGR, _SHADOW = (238, 240, 242), 0.55
_TOP_BGR, _BOTTOM_BGR, _GLOW_BGR = (74, 48, 34), (142, 104, 72), (96, 118, 150)


@dataclass(frozen=True)
class Oscillation:
    """A sine: base + amplitude * sin(2 pi t / period_s + phase)."""

    base: float
    amplitude: float = 0.0
    period_s: float = 1.0
    phase: float = 0.0

    def value_at(self, time_s: float) -> float:
        """Return the value at a time in seconds."""
        return self.base + self.amplitude * math.sin(math.tau * time_s / self.period_s + self.phase)


@dataclass(frozen=True)
class CyclicAbsence:
    """A card's periodic absence: it slides out of the frame at `leaves_s` and back in at `returns_s`.

    Attributes:
        cycle_s: Length of a cycle in seconds.
        leaves_s: Time within the cycle at which it starts to slide out.
        returns_s: Time within the cycle at which it starts to slide in.
        slide_s: Duration of a slide in seconds.
        distance: Distance of a slide in pixels.
    """

    cycle_s: float
    leaves_s: float
    returns_s: float
    slide_s: float
    distance: float

    def shift(self, time_s: float) -> float:
        """Return the horizontal offset in pixels at a time in seconds."""
        now_s = time_s % self.cycle_s
        out = _smoothstep((now_s - self.leaves_s) / self.slide_s)
        back = _smoothstep((now_s - self.returns_s) / self.slide_s)
        return self.distance * (out - back)


@dataclass(frozen=True)
class CardMotion:
    """The motion of a card.

    Attributes:
        x: Horizontal position of the centre in pixels.
        y: Vertical position of the centre in pixels.
        zoom: Scale factor.
        tilt: Rotation in degrees.
        light: Brightness gain.
        absence: Periods in which the card is out of the frame, None for a card that stays.
    """

    x: Oscillation
    y: Oscillation
    zoom: Oscillation
    tilt: Oscillation
    light: Oscillation
    absence: CyclicAbsence | None = None

    def matrix(self, time_s: float, size: tuple[int, int]) -> Floats:
        """Return the 2x3 affine matrix from card to frame coordinates."""
        scale, angle = self.zoom.value_at(time_s), math.radians(self.tilt.value_at(time_s))
        a, b = scale * math.cos(angle), scale * math.sin(angle)
        shift = self.absence.shift(time_s) if self.absence else 0.0
        x, y = self.x.value_at(time_s) + shift, self.y.value_at(time_s)
        left, top = size[0] / 2, size[1] / 2
        return np.array([[a, b, x - a * left - b * top], [-b, a, y + b * left - a * top]], np.float32)


_WARM_BGR = (0.80, 0.94, 1.06)
# Periods that share no small multiple, so that the view does not seem to repeat.
_NEAR = CardMotion(
    x=Oscillation(190, 14, 7.3),
    y=Oscillation(246, 14, 5.1),
    zoom=Oscillation(1.12, 0.07, 9.7),
    tilt=Oscillation(0, 6.0, 6.1),
    light=Oscillation(0.99, 0.13, 4.3),
)
_FAR = CardMotion(
    x=Oscillation(506, 10, 6.7, 1.0),
    y=Oscillation(236, 30, 8.9, 2.0),
    zoom=Oscillation(0.78, 0.05, 5.9, 0.5),
    tilt=Oscillation(0, 6.0, 7.7, 2.5),
    light=Oscillation(0.96, 0.10, 5.3, 1.5),
    absence=CyclicAbsence(cycle_s=19.0, leaves_s=10.0, returns_s=14.0, slide_s=1.4, distance=260.0),
)


class PhotoCard:
    """A photograph with a border, rounded corners and a shadow that can be drawn onto a frame."""

    def __init__(self, photo: Image) -> None:
        height, width = photo.shape[:2]
        pad = _MARGIN
        self.size = (width + 2 * pad, height + 2 * pad)
        inner = _round_mask((width, height), _BORDER, pad)
        outer = _round_mask((width, height), 0, pad)
        wide = cv2.copyMakeBorder(photo, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        picture = wide * inner + np.array(_BORDER_BGR, np.float32) * (1 - inner)
        shadow = cv2.GaussianBlur(np.roll(outer, 5, axis=0), (0, 0), 6.0)[..., None] * _SHADOW
        # Colour is premultiplied; the shadow is black and adds none. The fourth channel is the
        # transmittance. OpenCV warps four channels in half the time that it takes for three.
        self._layer = np.dstack([_to_bytes(picture * outer), _to_bytes(255 * (1 - outer) * (1 - shadow))])

    def draw(self, onto: Image, matrix: Floats, light: float) -> None:
        """Draw the card onto a frame in place.

        Args:
            onto: The frame, uint8 BGR.
            matrix: 2x3 affine matrix from card to frame coordinates.
            light: Brightness gain.
        """
        left, top, width, height = self._bounds(matrix, onto)
        if width <= 0 or height <= 0:
            return
        matrix = matrix - np.array([[0, 0, left], [0, 0, top]], np.float32)
        layer = cv2.warpAffine(self._layer, matrix, (width, height), borderValue=(0, 0, 0, 255))
        transmittance = cv2.cvtColor(cv2.extractChannel(layer, 3), cv2.COLOR_GRAY2BGR)
        region = onto[top : top + height, left : left + width]
        behind = cv2.multiply(region, transmittance, scale=1 / 255)
        lit = cv2.convertScaleAbs(cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), alpha=light)
        cv2.add(behind, lit, dst=region)

    def _bounds(self, matrix: Floats, onto: Image) -> tuple[int, int, int, int]:
        """Return (left, top, width, height) of the part of the frame that the card covers."""
        width, height = self.size
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float32)
        limits = np.array([onto.shape[1], onto.shape[0]])
        reach = corners @ matrix.T
        low = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, limits)
        high = np.clip(np.ceil(reach.max(axis=0)).astype(int), 0, limits)
        return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def make_source(spec: str, options: SourceOptions) -> Source:
    """Open the demo source."""
    return DemoSource(options.clock)


class DemoSource(BaseSource):
    """An endless source of 640x480 frames at 30 fps; the frame of a given number is always the same."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("demo", clock)
        self.size, self.fps = (WIDTH, HEIGHT), FPS
        self.details = describe("drawn", self.size, self.fps)
        photo = decode_image(resources.files(__package__).joinpath(_PORTRAIT).read_bytes(), _PORTRAIT)
        mirrored = _to_bytes(photo[:, ::-1].astype(np.float32) * np.array(_WARM_BGR, np.float32))
        self._cards = (PhotoCard(photo), _NEAR), (PhotoCard(mirrored), _FAR)
        self._lights = _background(0.12), _background(0.88)
        self._seq = 0

    def picture(self, seq: int) -> Image:
        """Return frame number `seq` as a new uint8 BGR array of shape (480, 640, 3)."""
        time_s = seq / FPS
        share = Oscillation(0.5, 0.5, 11.3).value_at(time_s)
        canvas = np.asarray(cv2.addWeighted(self._lights[0], 1 - share, self._lights[1], share, 0), np.uint8)
        for card, motion in self._cards:
            card.draw(canvas, motion.matrix(time_s, card.size), motion.light.value_at(time_s))
        return canvas

    def _next(self) -> Frame:
        frame = self._frame(self._seq, self._seq / FPS, self.picture(self._seq))
        self._seq += 1
        return frame


def _smoothstep(progress: float) -> float:
    """Interpolate smoothly from 0 to 1 (3p^2 - 2p^3)."""
    progress = min(1.0, max(0.0, progress))
    return progress * progress * (3 - 2 * progress)


def _to_bytes(values: Floats) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _round_mask(size: tuple[int, int], inset: int, pad: int) -> Floats:
    """Return a (height, width, 1) mask: 1 inside a rounded rectangle, 0 outside, antialiased edge."""
    width, height = size[0] + 2 * pad, size[1] + 2 * pad
    x = np.abs(np.arange(width, dtype=np.float32) - (width - 1) / 2) - (size[0] / 2 - _CORNER)
    y = np.abs(np.arange(height, dtype=np.float32) - (height - 1) / 2) - (size[1] / 2 - _CORNER)
    # The signed distance to a rounded box: to its corner circles, or to its nearest side.
    beyond = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    within = np.minimum(np.maximum(x[None, :], y[:, None]), 0)
    distance = beyond + within - (_CORNER - inset)
    return np.asarray(np.clip(0.5 - distance, 0, 1)[..., None], np.float32)


def _background(glow_x: float) -> Image:
    """Return a vertical gradient with a warm glow centred at a fraction of the width."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    top, bottom, glow = (np.array(bgr, np.float32) for bgr in (_TOP_BGR, _BOTTOM_BGR, _GLOW_BGR))
    down = (y / HEIGHT)[..., None]
    near = np.exp(-(((x / WIDTH - glow_x) / 0.38) ** 2 + ((y / HEIGHT - 0.35) / 0.55) ** 2))[..., None]
    # Noise below one grey level (dithering) hides the banding of the gradient.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return _to_bytes(top * (1 - down) + bottom * down + glow * near * 0.6 + noise)

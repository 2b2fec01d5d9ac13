"""The task "action": an encoder runs once on each sampled frame, and a head on the last window of features.

A recurrent model over TimeDistributed(CNN) would encode each frame once for every window that contains it.
Here the features are computed once and kept in a ring buffer, and only the head runs for each window. The
result is the same as that of the whole model.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import ROLLING, WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.tasks.base import NOTHING_NEW, Step
from edgeharfer.runtime.tasks.packaged import Inference, ModelRunner, TaskModel
from edgeharfer.runtime.tasks.rolling import RollingHead, has_rolling_head
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Action, Face, Floats, Frame, Image, TrackedFace

TIME_CONSTANT_S = 0.5
"""Time constant with which probabilities are averaged."""
_GRID_TOLERANCE = 1e-6


class FeatureRing:
    """The features of the last window, sampled on a regular grid in time.

    The grid has `WindowSpec.frames` points in `WindowSpec.seconds`. Each point takes the first frame at or
    after it, so the window covers the same time at 12, 30 or 60 frames per second; with a slower source one
    frame fills several points. A gap longer than `max_gap_s`, or a jump back in time, empties the ring.
    """

    def __init__(self, window: WindowSpec) -> None:
        self._window = window
        self._step_s = window.seconds / window.frames
        self._features: deque[Floats] = deque(maxlen=window.frames)
        self.reset()

    def reset(self) -> None:
        """Empty the ring."""
        self._features.clear()
        self._origin_s: float | None = None
        self._last_point = -1
        self._last_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the window is full."""
        return len(self._features) == self._window.frames

    def wants(self, pts_s: float) -> bool:
        """Return whether the frame at this time must be encoded. Empties the ring after a gap."""
        if self._origin_s is not None and not 0 <= pts_s - self._last_s <= self._window.max_gap_s:
            self.reset()
        self._last_s = pts_s
        return self._origin_s is None or self._point(pts_s) > self._last_point

    def push(self, pts_s: float, features: Floats) -> int:
        """Add the features of a wanted frame, float32, (size,); return the number of points they fill."""
        if self._origin_s is None:
            self._origin_s = pts_s
        point = self._point(pts_s)
        filled = min(point - self._last_point, self._window.frames)
        self._features.extend([features] * filled)
        self._last_point = point
        return filled

    def window(self) -> Floats:
        """Return the features of the window in order of time, float32, (1, frames, size)."""
        return np.stack(self._features)[None]

    def _point(self, pts_s: float) -> int:
        assert self._origin_s is not None
        return math.floor((pts_s - self._origin_s) / self._step_s + _GRID_TOLERANCE)


class ActionModel(TaskModel):
    """The graphs of an action package: the encoder (picture to features) and the head (window to classes).

    On the CPU, streams are read with the rolling head if the package has one.

    Args:
        package: A loaded package.
        backend: Where and how the graphs run.

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        super().__init__(package, backend)
        spec = self.manifest.input
        self._pictures = [(1, spec.height, spec.width, spec.channels)]
        self.encoder = self._open(package, "encoder", self._pictures)
        features = self.encoder.outputs[self.encoder.output_names[0]]
        if len(features) != 2:
            raise ModelError(
                f"{self.encoder.name}: the output has {len(features)} axes, not 2 (pictures, features)"
            )
        size = features[1]
        self.row_size = size if isinstance(size, int) else None
        self._windows = [(1, self.window.frames, size)] if isinstance(size, int) else []
        self.head = self._open(package, "head", self._windows)
        self._rolling = None
        if has_rolling_head(self.manifest, self.precision, self.encoder):
            self._rolling = open_graph(package, ROLLING, replace(self.backend, provider="cpu", device=None))

    @property
    def window(self) -> WindowSpec:
        """The window that the head reads."""
        window = self.manifest.window
        assert window is not None, "a package that reads clips has a window"
        return window

    def encode(self, bgr: Image) -> Floats:
        """Encode a picture of any size, uint8, (height, width, 3), BGR, to features, float32, (size,)."""
        features: Floats = self.encoder.run1(preprocess_images([bgr], self.manifest.input))[0]
        return features

    def classify(self, window: Floats) -> Floats:
        """Classify a window of features, (1, frames, size); return probabilities, float32, (classes,)."""
        return self.probs(self.head.run1(window)[0])

    def rolling(self) -> RollingHead | None:
        """Return a rolling head for a new stream, or None if windows are read as a whole."""
        return None if self._rolling is None else RollingHead(self._rolling, self.window.frames)

    def infer(self, bgr: Image, faces: Sequence[Face]) -> Inference:
        """Encode a picture."""
        return Inference(self.encode(bgr))

    def warm_up(self) -> None:
        """Run all graphs once."""
        self.encoder.warm_up(self._pictures)
        self.head.warm_up(self._windows)
        if (rolling := self.rolling()) is not None:
            for _, _, size in self._windows * 2:
                rolling.push(np.zeros(size, np.float32))


class ActionTask:
    """Recognises the action in the scene. Photographs have none."""

    name, scope = ACTION, "scene"

    def __init__(self, model: ActionModel, runner: ModelRunner, schedule: Schedule, clock: Clock) -> None:
        self._model, self._runner, self._clock = model, runner, clock
        self._ring = FeatureRing(model.window)
        self._rolling = model.rolling()
        self._smoother = Smoother(TIME_CONSTANT_S)
        self._decision = LabelDecision(model.manifest.labels, model.manifest.threshold)
        self._current: Action | None = None

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """Return an `Action` for each complete window, and the durations of "encode" and "head".

        While the first window fills, and after a gap, one `Action` that is not ready is returned.
        """
        if frame.still or not self._ring.wants(frame.pts_s):
            return NOTHING_NEW
        if self._current is not None and self._current.ready and not self._ring.ready:  # a gap emptied it
            self._discard_label()
        action, stages_ms = self._read(frame)
        if action is None and self._current is None:
            action = Action(UNCERTAIN, 0.0, False)
        self._current = action or self._current
        return Step(action, stages_ms)

    def reset(self) -> None:
        """Discard the window and the current label."""
        self._ring.reset()
        self._discard_label()

    def _read(self, frame: Frame) -> tuple[Action | None, dict[str, float]]:
        """Encode a frame; return the action of the window that it completes, and the durations."""
        start = self._clock.monotonic()
        features = self._runner.encode(self.name, frame)
        filled = self._ring.push(frame.pts_s, features)
        encoded = self._clock.monotonic()
        stages_ms = {"encode": (encoded - start) * 1e3}
        if (probs := self._classify(features, filled)) is None:
            return None, stages_ms
        action = self._decide(probs, frame.pts_s)
        return action, {**stages_ms, "head": (self._clock.monotonic() - encoded) * 1e3}

    def _classify(self, features: Floats, filled: int) -> Floats | None:
        """Return the probabilities of the window that ends with `filled` copies of the features, if full."""
        if self._rolling is not None:
            for _ in range(filled):
                scores = self._rolling.push(features)
            return self._model.probs(scores[0]) if self._ring.ready else None
        return self._model.classify(self._ring.window()) if self._ring.ready else None

    def _decide(self, raw: Floats, pts_s: float) -> Action:
        probs = self._smoother.update(raw, pts_s)
        label, score = self._decision.choose(probs)
        return Action(label, score, True, dict(zip(self._model.manifest.labels, probs.tolist(), strict=True)))

    def _discard_label(self) -> None:
        self._smoother.reset()
        self._decision.reset()
        self._current = None

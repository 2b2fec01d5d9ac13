"""The task action: each sampled frame is encoded once, the last window of features is read by the head.

A recurrent model over TimeDistributed(CNN) meets the same frame in many windows. Here its features are
computed once and kept in a ring; per step only the head runs, and the result is the whole model's.
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
from edgeharfer.runtime.inference.preprocess import prepare
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.tasks.base import NOTHING_NEW, Step
from edgeharfer.runtime.tasks.packaged import Inference, ModelRunner, TaskModel
from edgeharfer.runtime.tasks.rolling import RollingHead, has_rolling_head
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Action, Face, Floats, Frame, Image, TrackedFace

TIME_CONSTANT_S = 0.5
_GRID_SLACK = 1e-6


class FeatureRing:
    """The features of the last window, one for each point of a grid in time.

    The grid has `frames` points in `seconds`. A frame is wanted when it is the first at or after the next
    point, so the window means the same at 12, 30 or 60 frames a second; a slower source fills several
    points with one frame. A gap longer than `max_gap_s`, or time running backwards, empties the ring.
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
        self._taken = -1
        self._last_s = 0.0

    @property
    def ready(self) -> bool:
        """The window is full."""
        return len(self._features) == self._window.frames

    def wants(self, pts_s: float) -> bool:
        """Whether the frame at this time is to be encoded. Empties the ring on a gap."""
        if self._origin_s is not None and not 0 <= pts_s - self._last_s <= self._window.max_gap_s:
            self.reset()
        self._last_s = pts_s
        return self._origin_s is None or self._point(pts_s) > self._taken

    def push(self, pts_s: float, features: Floats) -> int:
        """Keep the features of a wanted frame, and return how many points of a window they fill."""
        if self._origin_s is None:
            self._origin_s = pts_s
        point = self._point(pts_s)
        filled = min(point - self._taken, self._window.frames)
        self._features.extend([features] * filled)
        self._taken = point
        return filled

    def window(self) -> Floats:
        """Those of the window in order of time, float32 (1, frames, size)."""
        return np.stack(self._features)[None]

    def _point(self, pts_s: float) -> int:
        assert self._origin_s is not None
        return math.floor((pts_s - self._origin_s) / self._step_s + _GRID_SLACK)


class ActionModel(TaskModel):
    """The two graphs of an action package: pictures to features, windows of features to probabilities.

    On the CPU a stream is read by the package's rolling head, where it has one.

    Args:
        backend: Where and how it runs.
    """

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        super().__init__(package, backend)
        spec = self.manifest.input
        self._pictures = [(1, spec.height, spec.width, spec.channels)]
        self.encoder = self._open(package, "encoder", self._pictures)
        features = self.encoder.outputs[self.encoder.output_names[0]]
        if len(features) != 2:
            raise ModelError(f"{self.encoder.name}: gives {len(features)} axes, not a row for each picture")
        size = features[1]
        self.row_size = size if isinstance(size, int) else None
        self._windows = [(1, self.window.frames, size)] if isinstance(size, int) else []
        self.head = self._open(package, "head", self._windows)
        self._rolling = None
        if has_rolling_head(self.manifest, self.precision, self.encoder):
            self._rolling = open_graph(package, ROLLING, replace(self.backend, provider="cpu", device=None))

    @property
    def window(self) -> WindowSpec:
        """What the model looks at."""
        window = self.manifest.window
        assert window is not None, "a package that reads clips has a window"
        return window

    def encode(self, bgr: Image) -> Floats:
        """One picture, uint8 (height, width, 3) BGR of any size -> features (size,)."""
        features: Floats = self.encoder.run1(prepare([bgr], self.manifest.input))[0]
        return features

    def classify(self, window: Floats) -> Floats:
        """A window of features (1, frames, size) -> probabilities (classes,)."""
        return self.probs(self.head.run1(window)[0])

    def rolling(self) -> RollingHead | None:
        """The head for a new stream, one frame at a time; None where windows are read as a whole."""
        return None if self._rolling is None else RollingHead(self._rolling, self.window.frames)

    def infer(self, bgr: Image, faces: Sequence[Face]) -> Inference:
        """The features of a picture."""
        return Inference(self.encode(bgr))

    def warm_up(self) -> None:
        """Run all graphs."""
        self.encoder.warm_up(self._pictures)
        self.head.warm_up(self._windows)
        if (rolling := self.rolling()) is not None:
            for _, _, size in self._windows * 2:
                rolling.push(np.zeros(size, np.float32))


class ActionTask:
    """What goes on in the scene; a photograph has no course of time, so nothing goes on in it."""

    name, scope = ACTION, "scene"

    def __init__(self, model: ActionModel, reader: ModelRunner, schedule: Schedule, clock: Clock) -> None:
        self._model, self._reader, self._clock = model, reader, clock
        self._ring = FeatureRing(model.window)
        self._rolling = model.rolling()
        self._smoother = Smoother(TIME_CONSTANT_S)
        self._decision = LabelDecision(model.manifest.labels, model.manifest.threshold)
        self._standing: Action | None = None

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """The action of each window that is complete, with the times of "encode" and "head".

        While the first window fills, and after a gap, there is one Action that is not ready.
        """
        if frame.still or not self._ring.wants(frame.pts_s):
            return NOTHING_NEW
        if self._standing is not None and self._standing.ready and not self._ring.ready:  # a gap emptied it
            self._forget()
        action, stages_ms = self._take(frame)
        if action is None and self._standing is None:
            action = Action(UNCERTAIN, 0.0, False)
        self._standing = action or self._standing
        return Step(action, stages_ms)

    def reset(self) -> None:
        """Forget the window and the standing label."""
        self._ring.reset()
        self._forget()

    def _take(self, frame: Frame) -> tuple[Action | None, dict[str, float]]:
        """Encode a frame; the action of the window that it completes, and the times."""
        start = self._clock.monotonic()
        features = self._reader.encode(self.name, frame)
        filled = self._ring.push(frame.pts_s, features)
        encoded = self._clock.monotonic()
        stages_ms = {"encode": (encoded - start) * 1e3}
        if (probs := self._classify(features, filled)) is None:
            return None, stages_ms
        action = self._decide(probs, frame.pts_s)
        return action, {**stages_ms, "head": (self._clock.monotonic() - encoded) * 1e3}

    def _classify(self, features: Floats, filled: int) -> Floats | None:
        """Probabilities of the window whose last `filled` points are these features; None while it fills."""
        if self._rolling is not None:
            for _ in range(filled):
                scores = self._rolling.push(features)
            return self._model.probs(scores[0]) if self._ring.ready else None
        return self._model.classify(self._ring.window()) if self._ring.ready else None

    def _decide(self, raw: Floats, pts_s: float) -> Action:
        probs = self._smoother.update(raw, pts_s)
        label, score = self._decision.choose(probs)
        return Action(label, score, True, dict(zip(self._model.manifest.labels, probs.tolist(), strict=True)))

    def _forget(self) -> None:
        self._smoother.reset()
        self._decision.reset()
        self._standing = None

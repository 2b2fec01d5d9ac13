"""The task action: each sampled frame is encoded once, the last window of features is read by the head.

A recurrent model over TimeDistributed(CNN) meets the same frame in many windows. Here its features are
computed once and kept in a ring; per step only the head runs, and the result is the whole model's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import ROLLING, WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import prepare
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.tasks import ACTION, check_manifest
from edgeharfer.runtime.tasks.rolling import RollingHead, rolls
from edgeharfer.runtime.tasks.smoothing import Decision, Smoother, softmax
from edgeharfer.runtime.types import UNCERTAIN, Action, Floats, Frame, Image, TrackedFace

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


class ActionModel:
    """The two graphs of an action package: pictures to features, windows of features to probabilities.

    On the CPU a stream is read by the package's rolling head, where it has one.
    """

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        self.manifest = package.manifest
        check_manifest(package.manifest, str(package.path))
        backend = resolve_backend(package, backend)
        self.precision = backend.precision
        spec = self.manifest.input
        self._pictures = [(1, spec.height, spec.width, spec.channels)]
        self.encoder = open_graph(package, "encoder", backend, shapes=self._pictures)
        features = self.encoder.outputs[self.encoder.output_names[0]]
        if len(features) != 2:
            raise ModelError(f"{self.encoder.name}: gives {len(features)} axes, not a row for each picture")
        size = features[1]
        self.features_size = size if isinstance(size, int) else None
        self._windows = [(1, self.window.frames, size)] if isinstance(size, int) else []
        self.head = open_graph(package, "head", backend, shapes=self._windows)
        self._rolling = None
        if rolls(self.manifest, backend.precision, self.encoder):
            self._rolling = open_graph(package, ROLLING, replace(backend, provider="cpu", device=None))

    @property
    def provider(self) -> str:
        """Where it runs, in ONNX Runtime's words."""
        return self.encoder.provider

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

    def probs(self, scores: Floats) -> Floats:
        """What a head gave -> probabilities."""
        return scores if self.manifest.output == "probs" else softmax(scores, self.manifest.temperature)

    def warm_up(self) -> None:
        """Run both graphs, so that the first frame is not slower than the rest."""
        self.encoder.warm_up(self._pictures)
        self.head.warm_up(self._windows)
        if (rolling := self.rolling()) is not None:
            for _, _, size in self._windows * 2:
                rolling.push(np.zeros(size, np.float32))

    def close(self) -> None:
        """End what goes on beside the graphs."""
        self.encoder.close()
        self.head.close()


class ActionRecognizer:
    """What goes on before the camera, frame by frame."""

    def __init__(
        self, model: ActionModel, *, threshold: float | None = None, clock: Clock | None = None
    ) -> None:
        self._model = model
        self._clock = clock or SystemClock()
        self._ring = FeatureRing(model.window)
        self._rolling = model.rolling()
        self._smoother = Smoother(TIME_CONSTANT_S)
        self._decision = Decision(
            model.manifest.labels, model.manifest.threshold if threshold is None else threshold
        )
        self._action = Action(UNCERTAIN, 0.0, False)

    def reset(self) -> None:
        """Forget the window and the standing label."""
        self._ring.reset()
        self._forget()

    def step(
        self, frame: Frame, stages_ms: dict[str, float], encode: Callable[[Frame], Floats] | None = None
    ) -> Action:
        """Take in a frame; the times of "encode" and "head" are added where they ran.

        encode: gives a frame's features in place of the model's own encoder.
        """
        wanted = self._ring.wants(frame.pts_s)
        if self._action.ready and not self._ring.ready:
            self._forget()
        if wanted:
            start = self._clock.monotonic()
            features = encode(frame) if encode else self._model.encode(frame.bgr)
            filled = self._ring.push(frame.pts_s, features)
            encoded = self._clock.monotonic()
            stages_ms["encode"] = (encoded - start) * 1e3
            probs = self._read(features, filled)
            if probs is not None:
                self._action = self._decide(probs, frame.pts_s)
                stages_ms["head"] = (self._clock.monotonic() - encoded) * 1e3
        return self._action

    def _read(self, features: Floats, filled: int) -> Floats | None:
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
        self._action = Action(UNCERTAIN, 0.0, False)


class ActionTask:
    """What goes on in the scene; a photograph has no course of time, so nothing goes on in it.

    encode: gives a frame's features, from the model or from a recording. stages_ms: takes the times of
    "encode" and "head".
    """

    name, scope = ACTION, "scene"

    def __init__(
        self,
        model: ActionModel,
        encode: Callable[[Frame], Floats],
        stages_ms: dict[str, float],
        clock: Clock,
    ) -> None:
        self._recognizer = ActionRecognizer(model, clock=clock)
        self._model, self._encode, self._stages_ms = model, encode, stages_ms

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Action | None:
        """What goes on now, the standing answer included."""
        if frame.still:
            return None
        return self._recognizer.step(frame, self._stages_ms, self._encode)

    def reset(self) -> None:
        """Forget the window and the standing label."""
        self._recognizer.reset()

    def close(self) -> None:
        """End what goes on beside the graphs."""
        self._model.close()

"""The task "action": an encoder runs once on each sampled frame, and a head on the last window of features.

A recurrent model over TimeDistributed(CNN) would encode each frame once for every window that contains it.
Here the features are computed once and kept in a ring buffer, and only the head runs for each window. The
result is the same as that of the whole model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import ROLLING, WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.lookahead import SampleGrid
from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.tasks.base import NOTHING_NEW, Step
from edgeharfer.runtime.tasks.encoders import Encoder, JointEncoder, PictureEncoder
from edgeharfer.runtime.tasks.packaged import Inference, ModelRunner, TaskModel
from edgeharfer.runtime.tasks.rolling import RollingHead, has_rolling_head
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Action, Face, Floats, Frame, Image, TrackedFace

if TYPE_CHECKING:
    from typing_extensions import Self

SPARSE_PERIOD, SPARSE_POINTS = 5, (0, 2, 4)
"""Of each five points of a window, those at which frames are encoded if the schedule is sparse."""
TIME_CONSTANT_S = 0.5
"""Time constant with which probabilities are averaged."""


class FeatureRing:
    """The features of the last window, sampled on a regular grid in time.

    The grid has `WindowSpec.frames` points in `WindowSpec.seconds`. Each point takes the first frame at or
    after it, so the window covers the same time at 12, 30 or 60 frames per second; with a slower source one
    frame fills several points. A gap longer than `max_gap_s`, or a jump back in time, empties the ring.

    Attributes:
        grid: The grid; None before the first frame.
    """

    def __init__(self, window: WindowSpec) -> None:
        self._window = window
        self._step_s = window.seconds / window.frames
        self._features: deque[Floats] = deque(maxlen=window.frames)
        self.reset()

    def reset(self) -> None:
        """Empty the ring."""
        self._features.clear()
        self.grid: SampleGrid | None = None
        self._last_point = -1
        self._last_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the window is full."""
        return len(self._features) == self._window.frames

    def reads(self, frame: Frame, sparse: bool = False) -> bool:
        """Return whether a frame must be encoded; of photographs only for windows of one frame."""
        return (not frame.still or self._window.frames == 1) and self.wants(frame.pts_s, sparse)

    def wants(self, pts_s: float, sparse: bool = False) -> bool:
        """Return whether the frame at this time must be encoded. Empties the ring after a gap.

        Args:
            pts_s: Source time of the frame.
            sparse: Encode frames at SPARSE_POINTS only. They fill the points before them too.
        """
        if self.grid is not None and not 0 <= pts_s - self._last_s <= self._window.max_gap_s:
            self.reset()
        self._last_s = pts_s
        if self.grid is None:
            return True
        points = range(self._last_point + 1, self.grid.point(pts_s) + 1)
        return any(point % SPARSE_PERIOD in SPARSE_POINTS for point in points) if sparse else bool(points)

    def push(self, pts_s: float, features: Floats) -> int:
        """Add the features of a wanted frame, float32, (size,); return the number of points they fill."""
        if self.grid is None:
            self.grid = SampleGrid(pts_s, self._step_s)
        point = self.grid.point(pts_s)
        filled = min(point - self._last_point, self._window.frames)
        self._features.extend([features] * filled)
        self._last_point = point
        return filled

    def window(self) -> Floats:
        """Return the features of the window in order of time, float32, (1, frames, size)."""
        return np.concatenate(self._features).reshape(1, len(self._features), -1)


class ActionModel(TaskModel):
    """The graphs of an action package: the encoder (picture to features) and the head (window to classes).

    On the CPU, streams are read with the rolling head if the package has one. A package whose manifest has an
    `encoder` has only a head.

    Args:
        package: A loaded package.
        backend: Where and how the graphs run.

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        super().__init__(package, backend)
        self._encoder = self._open_encoder(package, backend)
        # One picture at a time, because two would take 5 MB more.
        self._encoding = Lock()
        self._precomputed: WeakKeyDictionary[Picture, Floats] = WeakKeyDictionary()
        self.encoder = self._encoder.session
        self.row_size, size = self._encoder.row_size, self._encoder.feature_size
        self._windows = [(1, self.window.frames, size)] if size is not None else []
        self.head = self._open(package, "head", self._windows)
        taken = self.head.input_shape[-1]
        if self.manifest.encoder is not None and isinstance(taken, int) and taken != size:
            raise ModelError(
                f"{self.head.name}: takes {taken} features per frame, but the encoder "
                f"{self.manifest.encoder} outputs {size}"
            )
        self._rolling = None
        if has_rolling_head(self.manifest, self.precision, self._encoder.session):
            self._rolling = open_graph(package, ROLLING, replace(self.backend, provider="cpu", device=None))

    @property
    def window(self) -> WindowSpec:
        """The window that the head reads."""
        window = self.manifest.window
        assert window is not None, "a package that reads clips has a window"
        return window

    def encode(self, bgr: Image) -> Floats:
        """Encode the next frame of a stream, uint8, (height, width, 3), BGR; return float32, (row_size,)."""
        return self.encode_picture(BgrPicture(bgr))

    def encode_picture(self, picture: Picture) -> Floats:
        """Encode the picture of the next frame of a stream; return float32, (row_size,)."""
        features = self._precomputed.pop(picture, None)
        if features is not None:
            return features
        with self._encoding:
            return self._encoder.encode(picture)

    def precompute(self, picture: Picture) -> None:
        """Encode a picture in advance, if the features do not depend on the pictures before it."""
        if self._encoder.memoryless:
            with self._encoding:
                self._precomputed[picture] = self._encoder.encode(picture)

    def for_another_source(self) -> Self:
        other = super().for_another_source()
        other._encoder = self._encoder.for_another_source()
        return other

    def reset(self) -> None:
        """Forget the frames before, because the next one is of another scene."""
        self._encoder.reset()

    def classify(self, window: Floats) -> Floats:
        """Classify a window, (1, frames, row_size); return probabilities, float32, (classes,)."""
        return self.probs(self.head.run1(self._encoder.features(window))[0])

    def rolling(self) -> RollingHead | None:
        """Return a rolling head for a new stream, or None if windows are read as a whole."""
        return None if self._rolling is None else RollingHead(self._rolling, self.window.frames)

    def infer(self, picture: Picture, faces: Sequence[Face]) -> Inference:
        """Encode a picture."""
        return Inference(self.encode_picture(picture))

    def warm_up(self) -> None:
        """Run all graphs once."""
        self._encoder.warm_up()
        self.head.warm_up(self._windows)
        if (rolling := self.rolling()) is not None:
            for _, _, size in self._windows * 2:
                rolling.push(np.zeros(size, np.float32))

    def _open_encoder(self, package: Package, backend: Backend) -> Encoder:
        if self.manifest.encoder is not None:
            joints = JointEncoder(self.manifest.encoder, backend)
            self._sessions.append(joints.session)
            return joints
        spec = self.manifest.input
        shape = (1, *spec.shape)
        return PictureEncoder(self._open(package, "encoder", [shape]), spec)


class ActionTask:
    """Recognises the action in the scene. In photographs, only packages that read single frames do."""

    name, scope = ACTION, "scene"

    def __init__(self, model: ActionModel, runner: ModelRunner, schedule: Schedule, clock: Clock) -> None:
        self._model, self._runner, self._schedule, self._clock = model, runner, schedule, clock
        self._ring = FeatureRing(model.window)
        self._rolling = model.rolling()
        self._smoother = Smoother(TIME_CONSTANT_S)
        manifest = model.manifest
        self._decision = LabelDecision(
            manifest.labels, manifest.threshold, background_threshold=manifest.background_threshold
        )
        self._current: Action | None = None

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """Return an `Action` for each complete window, and the durations of "encode" and "head".

        While the first window fills, and after a gap, one `Action` that is not ready is returned.
        """
        if not self._ring.reads(frame, self._schedule.sparse):
            return NOTHING_NEW
        if self._current is not None and self._current.ready and not self._ring.ready:  # a gap emptied it
            self._discard_label()
        action, stages_ms = self._read(frame)
        if action is None and self._current is None:
            action = Action(UNCERTAIN, 0.0, False)
        self._current = action or self._current
        return Step(action, stages_ms)

    def precompute(self, frame: Frame, previous_s: float) -> None:
        """Encode a frame in advance if it will be sampled, unless a cut or a gap comes before it."""
        grid = self._ring.grid
        if grid is not None and not frame.still and grid.samples(previous_s, frame.pts_s):
            self._runner.precompute(self.name, frame)

    @property
    def grids(self) -> tuple[SampleGrid, ...] | None:
        """See `PackagedTask`."""
        return None if self._ring.grid is None else (self._ring.grid,)

    def reset(self) -> None:
        """Discard the window and the current label."""
        self._model.reset()
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

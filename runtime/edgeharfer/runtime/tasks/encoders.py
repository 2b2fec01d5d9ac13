"""Encoders of clips: what an action model keeps of each frame, and what its head reads of a window."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.preprocess import preprocess_picture
from edgeharfer.runtime.inference.providers import is_on_processor
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.tasks.joints import JOINT_FEATURES, JOINTS, joint_features
from edgeharfer.runtime.tasks.movenet import PoseModel
from edgeharfer.runtime.types import Floats


class Encoder(Protocol):
    """Encodes the frames of a stream one by one.

    Attributes:
        session: The ONNX Runtime session.
        row_size: Number of values that `encode` returns; None if the graph does not say.
        feature_size: Number of features of a frame that the head reads; None if the graph does not say.
        memoryless: Whether `encode` depends on nothing but the picture, and may run in any thread.
    """

    session: Session
    row_size: int | None
    feature_size: int | None
    memoryless: bool

    def encode(self, picture: Picture) -> Floats:
        """Encode the picture of the next frame, one at a time; returns float32, (row_size,)."""

    def features(self, window: Floats) -> Floats:
        """Return what the head reads of a window, (1, frames, row_size): (1, frames, feature_size)."""

    def for_another_source(self) -> Encoder:
        """Return the encoder for the frames of another source, with the same session."""

    def reset(self) -> None:
        """Forget the frames before, because the next one is of another scene."""

    def warm_up(self) -> None:
        """Run the graph once."""


class PictureEncoder:
    """A graph of the package from pictures to features.

    Args:
        session: The graph.
        spec: Its input.

    Raises:
        ModelError: The output is not (pictures, features).
    """

    def __init__(self, session: Session, spec: InputSpec) -> None:
        self.session, self._spec = session, spec
        shape: Sequence[int | str | None] = session.outputs[session.output_names[0]]
        if len(shape) != 2:
            raise ModelError(f"{session.name}: the output has {len(shape)} axes, not 2 (pictures, features)")
        self.row_size = self.feature_size = shape[1] if isinstance(shape[1], int) else None
        # Sessions with device memory must be used by one thread at a time.
        self.memoryless = is_on_processor(session.provider)
        # Used again, because the system would have to clear new memory of this size each time.
        self._input = np.empty((1, *spec.shape), np.float32)

    def encode(self, picture: Picture) -> Floats:
        features: Floats = self.session.run1(preprocess_picture(picture, self._spec, self._input))[0]
        return features

    def features(self, window: Floats) -> Floats:
        return window

    def for_another_source(self) -> Encoder:
        return self

    def reset(self) -> None:
        return

    def warm_up(self) -> None:
        self.session.warm_up([(1, *self._spec.shape)])


class JointEncoder:
    """The included package "pose": the ring keeps joints, and the head reads `joint_features` of them.

    Args:
        package: Name of the package.
        backend: Where and how it runs. Another precision than the package has becomes "auto".

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """

    memoryless = False

    def __init__(self, package: str, backend: Backend) -> None:
        pose = load_package(package)
        known = backend.precision in pose.manifest.files
        self._pose = PoseModel(pose, backend if known else replace(backend, precision="auto"))
        self.session = self._pose.session
        self.row_size: int | None = 3 * len(JOINTS)
        self.feature_size: int | None = JOINT_FEATURES

    def encode(self, picture: Picture) -> Floats:
        return self._pose.locate(picture.bgr).ravel()

    def features(self, window: Floats) -> Floats:
        return joint_features(np.reshape(window[0], (-1, len(JOINTS), 3)))[None]

    def for_another_source(self) -> Encoder:
        other = copy.copy(self)
        other._pose = self._pose.for_another_source()
        return other

    def reset(self) -> None:
        self._pose.reset()

    def warm_up(self) -> None:
        self._pose.warm_up()

"""The seam for tasks with a model package: a model that reads pictures, and a task that reads its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.inference.tuning import open_graph, settle
from edgeharfer.runtime.tasks.base import Step
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Face, Floats, Frame, Image, TrackedFace


class Inference(NamedTuple):
    """Outputs of a model.

    Attributes:
        values: float32, (faces, row_size) of a task on faces, (row_size,) of one on the scene.
        stages_ms: Milliseconds spent in each stage, where there are several.
    """

    values: Floats
    stages_ms: Mapping[str, float] = MappingProxyType({})


class TaskModel(ABC):
    """The graphs of a task's package.

    Attributes:
        manifest: Of the package.
        precision: Of the weights in use.
        row_size: Values that `infer` gives for each face, or for the frame; None where the graph leaves it
            open.

    Args:
        package: A loaded package.
        provider: "auto", "cpu", "cuda" or "tensorrt".
        precision: "auto", "fp32", "fp16" or "int8".
        threads: ONNX Runtime intra-op threads; None is as tuned for this device, or one.
        fallback: Use the CPU where the provider does not load.
        at_once: As `open_graph` takes it.
        clock: For the times of stages.

    Raises:
        ModelError: The package does not hold that precision, or has a graph that cannot be run.
        ProviderError: The provider is not there.
    """

    row_size: int | None

    def __init__(
        self,
        package: Package,
        *,
        provider: str = "cpu",
        precision: str = "auto",
        threads: int | None = 1,
        fallback: bool = False,
        at_once: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.manifest = package.manifest
        self._how = settle(package, provider, precision, threads)
        self.precision = self._how.precision
        self._fallback, self._at_once = fallback, at_once
        self._clock = clock or SystemClock()
        self._sessions: list[Session] = []

    @property
    def provider(self) -> str:
        """Where the first graph really runs, in ONNX Runtime's words."""
        return self._sessions[0].provider

    @abstractmethod
    def infer(self, bgr: Image, faces: Sequence[Face]) -> Inference:
        """Run on one picture, uint8 (height, width, 3); faces: those to read, for a task on faces."""

    @abstractmethod
    def warm_up(self) -> None:
        """Run every graph once in each shape, so that the first frames are not slower than the rest."""

    def probs(self, outputs: Floats) -> Floats:
        """Outputs of the last graph, (n, classes) or (classes,), as probabilities."""
        return outputs if self.manifest.output == "probs" else softmax(outputs, self.manifest.temperature)

    def close(self) -> None:
        """Stop what runs in the background of the graphs."""
        for session in self._sessions:
            session.close()

    def _open(self, package: Package, role: str, shapes: Sequence[tuple[int, ...]]) -> Session:
        """A session that `close` closes."""
        session = open_graph(package, role, self._how, self._fallback, shapes=shapes, at_once=self._at_once)
        self._sessions.append(session)
        return session


class Reader(Protocol):
    """Runs the models of the tasks on frames; a recording can stand in for it. task: a task's name."""

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        """How many faces to read in this frame, where the schedule says `count`."""

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        """The model's outputs for some faces of the frame."""

    def encode(self, task: str, frame: Frame) -> Floats:
        """The model's outputs for the frame."""


class PackagedTask(Protocol):
    """A task with a package. It is made with (model, reader, schedule, clock)."""

    name: str
    scope: str

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """As `Task.step`; one on the scene runs before faces are looked for, and gets none."""

    def reset(self) -> None:
        """Forget all frames."""

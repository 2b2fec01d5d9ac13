"""The seam for tasks with a model package: a model that reads pictures, and a task that reads its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.tasks import check_manifest
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
        backend: Where and how the graphs run, with a precision of its own.
        precision: Of the weights in use.
        row_size: Values that `infer` gives for each face, or for the frame; None where the graph leaves it
            open.

    Args:
        package: A loaded package.
        backend: Where and how its graphs run.

    Raises:
        ModelError: The package is not what its task needs, does not hold that precision, or has a graph that
            cannot be run.
        ProviderError: The provider is not there.
    """

    row_size: int | None

    def __init__(self, package: Package, backend: Backend = CPU) -> None:
        check_manifest(package.manifest, str(package.path))
        self.manifest = package.manifest
        self.backend = resolve_backend(package, backend)
        self.precision = self.backend.precision
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
        """Outputs of the last graph, (n, classes) or (classes,), as probabilities; values as they are."""
        return softmax(outputs, self.manifest.temperature) if self.manifest.output == "logits" else outputs

    def close(self) -> None:
        """Stop what runs in the background of the graphs."""
        for session in self._sessions:
            session.close()

    def _open(self, package: Package, role: str, shapes: Sequence[tuple[int, ...]]) -> Session:
        """A session that `close` closes."""
        session = open_graph(package, role, self.backend, shapes=shapes)
        self._sessions.append(session)
        return session


class ModelRunner(Protocol):
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

"""Interfaces of tasks with a model package: the model, what runs it, and the task that uses its outputs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.lookahead import SampleGrid
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.tasks import check_manifest
from edgeharfer.runtime.tasks.base import Step
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Face, Floats, Frame, TrackedFace

if TYPE_CHECKING:
    from typing_extensions import Self


class Inference(NamedTuple):
    """Outputs of a model.

    Attributes:
        values: float32, (faces, row_size) for a task on faces, (row_size,) for a task on the scene.
        stages_ms: Milliseconds spent in each stage, if the model has several.
    """

    values: Floats
    stages_ms: Mapping[str, float] = MappingProxyType({})


class TaskModel(ABC):
    """The graphs of a task's package.

    Attributes:
        manifest: Manifest of the package.
        backend: Where and how the graphs run, with "auto" resolved.
        precision: Precision of the weights in use.
        row_size: Number of values that `infer` returns for each face, or for the frame; None if the shape of
            the graph does not say.

    Args:
        package: A loaded package.
        backend: Where and how its graphs run.

    Raises:
        ModelError: The package does not match its task, does not have the precision, or has a graph that
            cannot be run.
        ProviderError: The requested provider cannot be loaded.
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
        """The ONNX Runtime provider in use by the first graph."""
        return self._sessions[0].provider

    @abstractmethod
    def infer(self, picture: Picture, faces: Sequence[Face]) -> Inference:
        """Run the model on one picture.

        Args:
            picture: The picture.
            faces: The faces to read; ignored by models of whole frames and clips.
        """

    def precompute(self, picture: Picture) -> None:
        """Compute what `infer` will need for a picture, if it depends on nothing else, and keep it with it.

        Called in another thread than the other methods.
        """
        return

    @abstractmethod
    def warm_up(self) -> None:
        """Run every graph once in each input shape, so that the first frames are not slower than the rest."""

    def probs(self, outputs: Floats) -> Floats:
        """Return outputs of the last graph, (n, classes) or (classes,), with logits as probabilities."""
        return softmax(outputs, self.manifest.temperature) if self.manifest.output == "logits" else outputs

    def for_another_source(self) -> Self:
        """Return the model for the frames of another source: the same graphs, without state of this one.

        Models that keep something from one frame to the next override it. Close only the original.
        """
        return copy.copy(self)

    def close(self) -> None:
        """Close the sessions, and stop their background work."""
        for session in self._sessions:
            session.close()

    def _open(self, package: Package, role: str, shapes: Sequence[tuple[int, ...]]) -> Session:
        """Open a graph; `close` closes the session. If all shapes have the same batch size, it is fixed."""
        batches = {shape[0] for shape in shapes}
        batch = batches.pop() if len(batches) == 1 else None
        session = open_graph(package, role, self.backend, shapes=shapes, cpu_batch=batch)
        self._sessions.append(session)
        return session


class ModelRunner(Protocol):
    """Runs the models of the tasks, by the name of the task. A recording can replace it."""

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        """Return how many faces to read in this frame; `count` is the decision of the schedule."""

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        """Return the outputs of the model for faces of the frame."""

    def encode(self, task: str, frame: Frame) -> Floats:
        """Return the outputs of the model for the frame, float32, (row_size,)."""

    def precompute(self, task: str, frame: Frame) -> None:
        """Compute in advance what `encode` will return for the frame (see `TaskModel.precompute`)."""


class PackagedTask(Protocol):
    """A task as the pipeline runs it. The classes of TASKS take (model, runner, schedule, clock).

    Attributes:
        name: Name of the task.
        scope: "scene" or "face".
        grids: The frames that the task looks at besides those in which faces are detected. None: perhaps any.
    """

    name: str
    scope: str

    @property
    def grids(self) -> tuple[SampleGrid, ...] | None: ...

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """Process a frame (see `Task.step`). Tasks on the scene run before face detection, without faces."""

    def precompute(self, frame: Frame, previous_s: float) -> None:
        """Compute in advance what `step` will probably need for a frame, and what depends on no other frame.

        Called for some frames of a file in the thread that reads it, while `step` may be running in another
        one. The readings must not depend on whether it is called.

        Args:
            frame: A frame that `step` has not received yet, and may never receive.
            previous_s: Source time of the frame before, in seconds.
        """
        return

    def reset(self) -> None:
        """Discard all state from previous frames."""

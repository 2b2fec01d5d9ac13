"""The settings of an analysis as plain values, from which every process builds the same job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.report.analyzer import DEFAULT_FPS, Analyzer
from edgeharfer.report.job import ReportJob
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.runtime.faces import DEFAULT_DETECTOR
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.source.decode_devices import AUTO
from edgeharfer.runtime.tasks import make_tasks

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class AnalysisSettings:
    """What to run on each input, and how.

    Attributes:
        packages: Package of each packaged task, by name or absolute folder; None turns the task off.
        tasks: Additional tasks by name or package folder.
        detector: A name of `DETECTORS`.
        prior: Class prior of the emotion model, see `Pipeline`.
        backend: Where and how the graphs run.
        signature_key: Public key file that the packages must be signed with.
        fps: Face samples per second of video.
        smoothing: Smoothing of the emotion probabilities.
        thumbnails: Put pictures of the input into the PDF.
        duration_s: Analyse only this many seconds of each input; None for all of it.
        decode: Device that decodes videos, see `open_source`.
    """

    packages: Mapping[str, str | None] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    detector: str = DEFAULT_DETECTOR
    prior: str = "package"
    backend: Backend = field(default_factory=Backend)
    signature_key: str | None = None
    fps: float = DEFAULT_FPS
    smoothing: Smoothing = field(default_factory=Smoothing)
    thumbnails: bool = False
    duration_s: float | None = None
    decode: str = AUTO

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings that `to_json` wrote."""
        values = json.loads(text)
        nested = {
            "backend": Backend(**values["backend"]),
            "smoothing": Smoothing(**values["smoothing"]),
            "tasks": tuple(values["tasks"]),
        }
        return cls(**{**values, **nested})

    @contextmanager
    def open_job(self) -> Iterator[ReportJob]:
        """Load the models and yield the job; the models are closed at the end of the block.

        Raises:
            ModelError: A package is not valid, or not signed with `signature_key`.
            ProviderError: The provider is not available.
        """
        with Analyzer(**self._analyzer_options()) as analyzer:
            yield ReportJob(analyzer, self.smoothing, self.thumbnails, self.duration_s, self.decode)

    def _analyzer_options(self) -> dict[str, Any]:
        key = None if self.signature_key is None else Path(self.signature_key)
        packages: dict[str, str | Package | None] = dict(self.packages)
        if key is not None:
            for task, name in self.packages.items():
                packages[task] = None if name is None else load_package(name, task, require_signature=key)
        return {
            **packages,
            "fps": self.fps,
            "detector": self.detector,
            "prior": self.prior,
            "backend": self.backend,
            "extra_tasks": make_tasks(self.tasks, self.backend, require_signature=key),
        }

"""Run on another provider while a TensorRT engine is built, then switch if its outputs agree.

Building an engine takes minutes, once for each graph and device. Meanwhile the graph runs on the next best
provider. Then the engine is opened in another thread and both sessions run the same input. If their outputs
agree, the engine is used from the next frame on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np

from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.engine_build import EngineBuild
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import Session, Sizes, Tensor, make_session
from edgeharfer.runtime.types import Floats

TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "int8": 0.1}
"""Largest accepted difference of two providers' outputs, relative to the largest value of the output.

Estimated, not measured: the rounding of TensorFloat-32 and FP16 (1/2048) or INT8 (1/127), amplified through
the layers.
"""

_log = logging.getLogger(__name__)


class BackgroundBuild(Protocol):
    """An engine that is being built."""

    def finished(self) -> bool:
        """Whether the build is complete. Raises EdgeharferError if it failed."""

    def close(self) -> None:
        """Cancel the build."""


class Upgrade:
    """A better session in preparation: its engine is built, then opened in another thread."""

    def __init__(self, build: BackgroundBuild, open_session: Callable[[], Session]) -> None:
        self._build, self._open = build, open_session
        self._thread = ThreadPoolExecutor(1, "engine")
        self._opened: Future[Session] | None = None

    def ready(self) -> Session | None:
        """Return the new session, or None while it is not ready. Raises EdgeharferError if it failed."""
        if self._opened is None and self._build.finished():
            self._opened = self._thread.submit(self._open)
        return self._opened.result() if self._opened is not None and self._opened.done() else None

    def close(self) -> None:
        """Cancel the build and wait for an engine that is being opened: a second or two."""
        self._build.close()
        self._thread.shutdown()


class UpgradingSession(Session):
    """A session that switches to a better one once that is ready and gives the same outputs.

    Args:
        running: Session to use until then.
        upgrade: The better session in preparation.
        tolerance: Largest accepted difference, see TOLERANCE. A larger one, or a failed upgrade, is logged
            once.
    """

    def __init__(self, running: Session, upgrade: Upgrade, tolerance: float) -> None:
        self._adopt(running)
        self._upgrade: Upgrade | None = upgrade
        self._tolerance = tolerance

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run the graph. Both sessions compute the run before the switch."""
        outputs = super().run(feeds)
        if self._upgrade is not None:
            self._try_switch(self._upgrade, feeds, outputs)
        return outputs

    def warm_up(self, shapes: Sequence[Sequence[int]]) -> None:
        upgrade, self._upgrade = self._upgrade, None  # Outputs for zeros are not worth comparing.
        try:
            super().warm_up(shapes)
        finally:
            self._upgrade = upgrade

    def close(self) -> None:
        """Cancel the switch; the session stays usable."""
        if self._upgrade is not None:
            self._upgrade.close()
            self._upgrade = None

    def _try_switch(
        self, upgrade: Upgrade, feeds: Mapping[str, Tensor], outputs: Mapping[str, Floats]
    ) -> None:
        try:
            if (better := upgrade.ready()) is None:
                return
            self._switch(better, relative_difference(outputs, better.run(feeds)))
        except EdgeharferError as error:
            _log.warning("%s: stays on %s: %s", self.name, self.provider, error)
        self.close()

    def _switch(self, better: Session, found: float) -> None:
        if found > self._tolerance:
            _log.warning(
                "%s: stays on %s: outputs of %s differ by %.2g, more than %g",
                self.name, self.provider, better.provider, found, self._tolerance,
            )  # fmt: skip
            return
        _log.info("%s: switched to %s, whose outputs differ by %.2g", self.name, better.provider, found)
        self._adopt(better)

    def _adopt(self, other: Session) -> None:
        """Take over another session's ONNX Runtime session, bindings and provider."""
        vars(self).update(vars(other))


def relative_difference(wanted: Mapping[str, Floats], given: Mapping[str, Floats]) -> float:
    """Return the largest difference of any output, relative to that output's largest absolute value.

    NaN counts as infinite.
    """
    largest = 0.0
    for name, mine in wanted.items():
        scale = max(float(np.abs(mine).max(initial=0)), float(np.finfo(np.float32).tiny))
        found = float(np.abs(given[name] - mine).max(initial=0)) / scale
        largest = max(largest, found if np.isfinite(found) else np.inf)
    return largest


def build_in_background(graph: Graph, running: Backend, shapes: Sequence[Sizes] = ()) -> Session:
    """Create a session on `running` that switches to TensorRT once its engine is built.

    Args:
        graph: Graph to run.
        running: Backend until the switch.
        shapes: Input shapes to warm the engine up with.

    Raises:
        ProviderError, ModelError, ConfigError, MissingExtra: As `make_session` raises them.
    """
    session, backend = make_session(graph, running), replace(running, provider="tensorrt")

    def open_engine() -> Session:
        better = make_session(graph, backend)
        better.warm_up(shapes)
        return better

    try:
        build = EngineBuild(graph, backend)
    except OSError as error:
        _log.warning(
            "%s: stays on %s: the TensorRT build cannot start: %s", graph.name, session.provider, error
        )
        return session
    _log.warning("%s: runs on %s while the TensorRT engine is built (minutes)", graph.name, session.provider)
    return UpgradingSession(session, Upgrade(build, open_engine), TOLERANCE[running.precision])

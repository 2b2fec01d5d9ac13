"""TensorRT's engine of one graph, built in a child process.

    python -m edgeharfer.runtime.inference.engine_build NAME THREADS < MODEL

Building takes minutes inside one native call, which only the end of its process can interrupt. A session
finds the engine in the cache. Engines are built one at a time, since each needs much memory, and at low
priority, since something else runs meanwhile.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgeharfer.runtime.child import Child, child_command, signal_name
from edgeharfer.runtime.errors import EdgeharferError, ProviderError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.inference.tensorrt import cache_root, lacks_engine

LOCK = "building.lock"
_NICENESS = 10


class EngineBuild(Child):
    """An engine that is being built; the child process ends with this object at the latest.

    command: what Python is given in place of this module.
    Raises OSError where there is no room for a process.
    """

    def __init__(self, graph: Graph, backend: Backend, *, command: Sequence[str] | None = None) -> None:
        self._name = graph.name
        start = child_command(__name__) if command is None else [sys.executable, *command]
        with tempfile.TemporaryFile() as given:
            given.write(graph.data)
            given.seek(0)
            super().__init__(
                [*start, graph.name, str(backend.threads or 1)], stdin=given, capture_stderr=True
            )

    def ended(self) -> bool:
        """Whether the engine is in the cache. Raises ProviderError where it could not be built."""
        code = self.process.poll()
        if code:
            raise ProviderError(f"TensorRT's engine for {self._name} cannot be built: {self._reason(code)}")
        return code is not None

    def _reason(self, code: int) -> str:
        if name := signal_name(code):
            return f"its builder crashed ({name})"
        return self.last_stderr_line() or f"exit code {code}"


def build(graph: Graph, backend: Backend) -> None:
    """Build and keep the engine, unless it is there. Raises ProviderError, ModelError."""
    if lacks_engine(graph):
        make_session(graph, backend)
    if lacks_engine(graph):
        raise ProviderError(f"it cannot be kept: see whether {cache_root()} can be written")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits for other builders of this user; on Windows they build side by side."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    root = cache_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / LOCK).open("wb") as file:  # Unlocked by its end, whatever it is.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """The process: its exit code; why it failed goes to standard error."""
    name, threads = arguments
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    model = sys.stdin.buffer.read()
    try:
        with one_at_a_time():
            build(Graph.scan(model, name), Backend("tensorrt", threads=int(threads)))
    except (EdgeharferError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

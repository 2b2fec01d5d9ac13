"""Build the TensorRT engine of a graph in a child process.

    python -m edgeharfer.runtime.inference.engine_build NAME THREADS < MODEL

Building takes minutes inside one native call that can only be interrupted by ending its process. The engine
is written to the cache, where a session finds it. Engines are built one at a time because each needs much
memory, and at low priority because inference runs at the same time.
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
from edgeharfer.runtime.inference.tensorrt import cache_root, needs_engine_build

LOCK = "building.lock"
_NICENESS = 10


class EngineBuild(Child):
    """An engine that is being built. The child process is terminated when this object is closed.

    Args:
        graph: Graph to build the engine of.
        backend: Only its `threads` are used.
        command: Arguments of Python, in place of running this module.

    Raises:
        OSError: The child process cannot be started.
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

    def finished(self) -> bool:
        """Whether the engine is in the cache.

        Raises:
            ProviderError: The build failed.
        """
        code = self.process.poll()
        if code:
            raise ProviderError(f"TensorRT engine for {self._name} cannot be built: {self._reason(code)}")
        return code is not None

    def _reason(self, code: int) -> str:
        if name := signal_name(code):
            return f"the build process crashed ({name})"
        return self.last_stderr_line() or f"exit code {code}"


def build_engine(graph: Graph, backend: Backend) -> None:
    """Build the engine and write it to the cache, unless it is there.

    Raises:
        ProviderError: TensorRT does not load, or the cache cannot be written.
        ModelError: The graph cannot be loaded.
    """
    if needs_engine_build(graph):
        make_session(graph, backend)
    if needs_engine_build(graph):
        raise ProviderError(f"engine cannot be cached: check that {cache_root()} is writable")


@contextmanager
def build_lock() -> Iterator[None]:
    """Wait for other builds of this user to end. Windows has no lock: engines are built in parallel there."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    root = cache_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / LOCK).open("wb") as file:  # Unlocked when the process ends, however it ends.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Run the child process. Errors are written to stderr.

    Returns:
        The exit code.
    """
    name, threads = arguments
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    model = sys.stdin.buffer.read()
    try:
        with build_lock():
            build_engine(Graph.scan(model, name), Backend("tensorrt", threads=int(threads)))
    except (EdgeharferError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

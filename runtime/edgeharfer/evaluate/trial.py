"""Try a package in a process of its own: a graph may crash, fill the memory or never end.

    python -m edgeharfer.evaluate.trial FOLDER

Nothing in the file of a graph tells whether it ends, so that its first run has a deadline.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

import numpy as np

from edgeharfer.evaluate.golden import answerer, golden_frames
from edgeharfer.runtime.child import run_child, signal_name
from edgeharfer.runtime.errors import EdgeharferError, MissingExtra, ModelError
from edgeharfer.runtime.inference.manifest import FACES
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.inference.session import make_session

TRIAL_S = 15.0
"""For all graphs of a package. Those that ship take less than a second on a desktop processor."""


def try_out(package: Package, deadline_s: float = TRIAL_S) -> None:
    """Load and run every graph of a package once, on the CPU, in a child process.

    Raises ModelError where one cannot be run, crashes, or is not done by the deadline; MissingExtra without
    ONNX Runtime.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtra("ONNX Runtime", "cpu")
    try:
        code, why = run_child(__name__, str(package.path), timeout_s=deadline_s)
    except TimeoutError as error:
        raise ModelError(
            f"{package.path}: its graphs gave no answer within {deadline_s:g} s: they never end, or are too "
            "slow for this machine"
        ) from error
    except OSError as error:
        raise ModelError(f"{package.path}: cannot be tried: {error.strerror}") from error
    if name := signal_name(code):
        raise ModelError(f"{package.path}: running it crashed ({name})")
    if code:
        raise ModelError(why or f"{package.path}: cannot be run")


def run_graphs(package: Package) -> None:
    """Run the graphs of each precision once. Raises ModelError."""
    for precision, files in package.manifest.files.items():
        if package.manifest.task != FACES:
            answerer(package, precision)(golden_frames())
            continue
        for role in files:
            session = make_session(package.read(role, precision))
            shapes = {
                key: [size if isinstance(size, int) else 1 for size in shape]
                for key, shape in session.inputs.items()
            }
            session.run({key: np.zeros(shape, np.float32) for key, shape in shapes.items()})


def main(arguments: Sequence[str]) -> int:
    """The child process: its exit code; why a package cannot be run goes to standard error."""
    try:
        run_graphs(load_package(arguments[0]))
    except EdgeharferError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except MemoryError:
        sys.stderr.write(f"{arguments[0]}: takes more memory than there is\n")
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

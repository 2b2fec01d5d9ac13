"""Run a package once in a child process, since a graph may crash, exhaust memory or never terminate.

    python -m edgeharfer.evaluate.trial FOLDER SECONDS

Whether a graph terminates cannot be seen from its file, so the run has a deadline. The child process keeps it
as well, because its parent may be interrupted or killed before.
"""

from __future__ import annotations

import importlib.util
import math
import signal
import sys
from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.child import run_child, signal_name
from edgeharfer.runtime.errors import EdgeharferError, MissingExtra, ModelError
from edgeharfer.runtime.golden import golden_frames, make_classifier
from edgeharfer.runtime.inference.manifest import FACES
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.inference.session import make_session

TRIAL_S = 15.0
"""Deadline for all graphs of a package. The included packages take less than 1 s on a desktop processor."""


def run_trial(package: Package, deadline_s: float = TRIAL_S) -> None:
    """Load and run every graph of a package once on the CPU in a child process.

    Raises:
        ModelError: A graph cannot be run, crashes or does not finish within `deadline_s`.
        MissingExtra: ONNX Runtime is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtra("ONNX Runtime", "cpu")
    try:
        limit_s = math.ceil(deadline_s) + 1  # the parent is first, as it can say why
        code, why = run_child(__name__, str(package.path), str(limit_s), timeout_s=deadline_s)
    except TimeoutError as error:
        raise ModelError(
            f"{package.path}: no output within {deadline_s:g} s: the graphs do not terminate or are too slow "
            "for this machine"
        ) from error
    except OSError as error:
        raise ModelError(f"{package.path}: the trial run cannot be started: {error.strerror}") from error
    if name := signal_name(code):
        raise ModelError(f"{package.path}: the trial run crashed ({name})")
    if code:
        raise ModelError(why or f"{package.path}: the trial run failed with exit code {code}")


def run_graphs(package: Package) -> None:
    """Run the graphs of each precision once.

    Raises:
        ModelError: A graph cannot be run.
    """
    for precision, files in package.manifest.files.items():
        if package.manifest.task != FACES:
            make_classifier(package, precision)(golden_frames())
            continue
        for role in files:
            session = make_session(package.read(role, precision))
            # Not of one pixel: ONNX Runtime 1.20 divides by zero where a layer leaves nothing of a picture.
            free = {"height": package.manifest.input.height, "width": package.manifest.input.width}
            shapes = {
                key: [size if isinstance(size, int) else free.get(str(size), 1) for size in shape]
                for key, shape in session.inputs.items()
            }
            session.run({key: np.zeros(shape, np.float32) for key, shape in shapes.items()})


def main(arguments: Sequence[str]) -> int:
    """Entry point of the child process: return its exit code and write errors to standard error."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which the system carries out, whatever is running
        signal.alarm(int(arguments[1]))
    try:
        run_graphs(load_package(arguments[0]))
    except EdgeharferError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except MemoryError:
        sys.stderr.write(f"{arguments[0]}: not enough memory\n")
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A recurrent head over a window that moves on, read one frame at a time.

The windows that a frame belongs to are as many as a window has frames, and for all of them the layer takes
one step with that frame. A rolling head takes these steps together: the states of all open windows are the
rows of one batch, and a frame is weighed once, not once in each window. With each frame the oldest window is
complete and a new one opens, so that the answer is the whole window's.
"""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import ROLLING, Manifest
from edgeharfer.runtime.inference.providers import PROVIDERS
from edgeharfer.runtime.inference.session import Session, Shape
from edgeharfer.runtime.types import Floats


def has_rolling_head(manifest: Manifest, precision: str, encoder: Session) -> bool:
    """Whether a rolling head reads a stream: where the package holds one, and its encoder is on the CPU."""
    return ROLLING in manifest.files[precision] and encoder.provider == PROVIDERS["cpu"].name


class RollingHead:
    """The open windows of one stream.

    session: a graph (features (1, size), states (1, frames, units)...) -> (scores (1, classes), the states
    after it...), with the window that is complete in the first row. frames: of a window.
    Raises ModelError for a graph of another kind.
    """

    def __init__(self, session: Session, frames: int) -> None:
        self._session = session
        self._features, *states = session.input_names
        self._scores, *after = session.output_names
        if len(after) != len(states):
            raise ModelError(
                f"{session.name}: no rolling head: {len(states)} states go in, {len(after)} come out"
            )
        rows = [self._no_windows(session.inputs[name], frames) for name in states]
        self._before = dict(zip(states, (one[:, 1:] for one in rows), strict=True))
        self._after = dict(zip(after, (one[:, :-1] for one in rows), strict=True))

    def push(self, features: Floats) -> Floats:
        """Take in the features (size,) of the next frame -> scores (1, classes) of the window it completes.

        They mean something as soon as as many frames went in as a window has.
        """
        outputs = self._session.run({self._features: features[None], **self._before})
        for name, rows in self._after.items():
            if outputs[name].shape != rows.shape:
                raise ModelError(f"{self._session.name}: gives {name} in another shape than it takes it")
            rows[:] = outputs[name]
        return outputs[self._scores]

    def _no_windows(self, shape: Shape, frames: int) -> Floats:
        """One row more than there are windows: the last one stays zero, as a window begins."""
        units = shape[-1] if shape else None
        if not isinstance(units, int) or shape != (1, frames, units):
            raise ModelError(
                f"{self._session.name}: no rolling head: {shape} is no state of {frames} windows"
            )
        return np.zeros((1, frames + 1, units), np.float32)

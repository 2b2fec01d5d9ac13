"""A recurrent head over a sliding window, evaluated one frame at a time.

A frame belongs to as many overlapping windows as a window has frames, and the recurrent layer takes one step
with it in each of them. A rolling head takes these steps together: the states of all open windows are the
rows of one batch, and the input weights are applied to the frame once instead of once for each window. Each
frame completes the oldest window and opens a new one. The result equals that of the whole window.
"""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import ROLLING, Manifest
from edgeharfer.runtime.inference.providers import is_on_processor
from edgeharfer.runtime.inference.session import Session, Shape
from edgeharfer.runtime.types import Floats


def has_rolling_head(manifest: Manifest, precision: str, encoder: Session) -> bool:
    """Return whether streams are read with a rolling head: the package has one, and runs on the processor."""
    return ROLLING in manifest.files[precision] and is_on_processor(encoder.provider)


class RollingHead:
    """The recurrent states of all open windows of one stream.

    Args:
        session: A graph with the inputs features (1, size) and states (1, frames, units)…, and the outputs
            scores (1, classes) and the next states…, with the complete window in the first row.
        frames: Number of frames of a window.

    Raises:
        ModelError: The graph has other inputs or outputs.
    """

    def __init__(self, session: Session, frames: int) -> None:
        self._session = session
        self._features, *states = session.input_names
        self._scores, *after = session.output_names
        if len(after) != len(states):
            raise ModelError(
                f"{session.name}: not a rolling head: {len(states)} states as inputs, {len(after)} as outputs"
            )
        rows = [self._initial_states(session.inputs[name], frames) for name in states]
        self._before = dict(zip(states, (one[:, 1:] for one in rows), strict=True))
        self._after = dict(zip(after, (one[:, :-1] for one in rows), strict=True))

    def push(self, features: Floats) -> Floats:
        """Add the features of the next frame, float32, (size,).

        Returns:
            The scores of the window that the frame completes, float32, (1, classes). They are meaningful once
            a full window of frames was added.
        """
        outputs = self._session.run({self._features: features[None], **self._before})
        for name, rows in self._after.items():
            if outputs[name].shape != rows.shape:
                raise ModelError(
                    f"{self._session.name}: {name} has the shape {outputs[name].shape}, not {rows.shape}"
                )
            rows[:] = outputs[name]
        return outputs[self._scores]

    def _initial_states(self, shape: Shape, frames: int) -> Floats:
        """Return zero states with one extra row, which stays zero as the initial state of a new window."""
        units = shape[-1] if shape else None
        if not isinstance(units, int) or shape != (1, frames, units):
            raise ModelError(
                f"{self._session.name}: not a rolling head: "
                f"a state has the shape {shape}, not (1, {frames}, units)"
            )
        return np.zeros((1, frames + 1, units), np.float32)

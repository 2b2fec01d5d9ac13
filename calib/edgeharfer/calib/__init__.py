"""Calibration sets, INT8 recipes and the accuracy guard that decides which of them a package gets."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.calib.clips import ClipCalibrationSource
from edgeharfer.calib.data import CalibrationSource
from edgeharfer.calib.faces import FaceCalibrationSource
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import Manifest

__all__ = ["open_material"]


def open_calibration_source(manifest: Manifest, path: Path, ferplus: Path | None = None) -> CalibrationSource:
    """Pictures or clips in `<class>/<file>` or `<split>/<class>/<file>`, as the model's task wants them.

    ferplus: FER+ votes that label faces instead of their folders.
    """
    if manifest.window is None:
        return FaceCalibrationSource(manifest, path, ferplus)
    if ferplus is not None:
        raise ConfigError("FER+ votes label faces: an action model has no use for --ferplus")
    return ClipCalibrationSource(manifest, path)

"""Calibration sets, INT8 recipes and the accuracy guard that accepts or rejects them."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.calib.clips import ClipCalibrationSource
from edgeharfer.calib.data import CalibrationSource
from edgeharfer.calib.faces import FaceCalibrationSource
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import Manifest

__all__ = ["open_calibration_source"]


def open_calibration_source(manifest: Manifest, path: Path, ferplus: Path | None = None) -> CalibrationSource:
    """Open a data set in the form that the model's task reads: pictures of faces, or clips.

    Args:
        manifest: The model that is to be calibrated.
        path: Folder or zip with `<class>/<file>` or `<split>/<class>/<file>`.
        ferplus: Table of FER+ votes that replace the folder names as labels of faces.

    Raises:
        ConfigError: FER+ votes were given for an action model.
        SourceError: The data set cannot be read or is empty.
    """
    if manifest.window is None:
        return FaceCalibrationSource(manifest, path, ferplus)
    if ferplus is not None:
        raise ConfigError("--ferplus labels faces, but this is an action model: remove --ferplus")
    return ClipCalibrationSource(manifest, path)

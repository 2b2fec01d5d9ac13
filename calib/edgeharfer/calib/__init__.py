"""Calibration sets, INT8 recipes and the accuracy guard that decides which of them a package gets."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.calib.clips import ClipMaterial
from edgeharfer.calib.faces import FaceMaterial
from edgeharfer.calib.material import Material
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import Manifest

__all__ = ["open_material"]


def open_material(manifest: Manifest, path: Path, ferplus: Path | None = None) -> Material:
    """Pictures or clips in `<class>/<file>` or `<split>/<class>/<file>`, as the model's task wants them.

    ferplus: FER+ votes that label faces instead of their folders.
    """
    if manifest.window is None:
        return FaceMaterial(manifest, path, ferplus)
    if ferplus is not None:
        raise ConfigError("FER+ votes label faces: an action model has no use for --ferplus")
    return ClipMaterial(manifest, path)

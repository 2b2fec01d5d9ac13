"""ImageNet backbones from Keras, with weights from a file, from Keras itself, or none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.lazy_keras import keras


def frame_encoder(width: int, height: int, alpha: float, weights: str | Path | None) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018): RGB in [-1, 1] (n, height, width, 3) -> mean features (n, size).

    weights: "imagenet" (Keras downloads them), a file that `load_weights` reads, or None for random ones.
    Raises ConfigError for weights that cannot be had or do not fit.
    """
    model = backbone("MobileNetV2", width, height, weights, alpha=alpha)
    model.trainable = False
    return model


def backbone(
    network: str, width: int, height: int, weights: str | Path | None, **settings: Any
) -> keras.Model:
    """A network of `keras.applications`: RGB, scaled as it wants it -> mean features (n, size).

    weights: "imagenet" (Keras downloads them), a file that `load_weights` reads, a folder with such a file
    whose name begins with the network's, as in Keras's own cache, or None for random ones.
    Raises ConfigError for weights that cannot be had or do not fit.
    """
    named = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # That other sizes take the weights of 224x224; and one for each layer before a load fails anyway.
            warnings.simplefilter("ignore")
            model = getattr(keras.applications, network)(
                input_shape=(height, width, 3), include_top=False, weights=named, pooling="avg", **settings
            )
            if weights is not None and named is None:
                model.load_weights(_find_weights(Path(weights), network))
    except Exception as error:  # Keras, h5py and urllib raise whatever the reason leads to.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" :.")
        raise ConfigError(
            f"{network} weights {weights}: {reason}: give a file that has them, or none for random ones"
        ) from error
    return model


def _find_weights(path: Path, network: str) -> Path:
    """The path itself, or the one file of the folder that is for this network."""
    if not path.is_dir():
        return path
    starts = (f"{network.lower()}_", f"{network.lower()}.")
    found = [file for file in path.glob("*.h5") if file.name.lower().startswith(starts)]
    if len(found) != 1:
        raise ConfigError(f"{len(found)} .h5 files there begin with {network.lower()}, not one")
    return found[0]

"""ImageNet backbones from Keras, with weights from a file, from Keras itself, or none."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras

from edgeharfer.runtime.errors import ConfigError


def frame_encoder(width: int, height: int, alpha: float, weights: str | Path | None) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018): RGB in [-1, 1] (n, height, width, 3) -> mean features (n, size).

    weights: "imagenet" (Keras downloads them), a file that `load_weights` reads, or None for random ones.
    Raises ConfigError for weights that cannot be had or do not fit.
    """
    named = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That sizes without weights of their own take those of 224x224.
            model = keras.applications.MobileNetV2(
                input_shape=(height, width, 3), alpha=alpha, include_top=False, weights=named, pooling="avg"
            )
        if weights is not None and named is None:
            model.load_weights(weights)
    except Exception as error:  # Keras, h5py and urllib raise whatever the reason leads to.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"backbone weights {weights}: {reason}: give a file, or none for random ones"
        ) from error
    model.trainable = False
    return model

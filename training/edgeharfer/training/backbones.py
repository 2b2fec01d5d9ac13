"""ImageNet backbones from `keras.applications`, with pretrained or random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ConfigError, first_line
from edgeharfer.training.lazy_keras import keras


def frame_encoder(width: int, height: int, alpha: float, weights: str | Path | None) -> keras.Model:
    """Build MobileNetV2 (Sandler et al. 2018) as a frozen frame encoder.

    Args:
        width: Input width in pixels.
        height: Input height in pixels.
        alpha: Width multiplier of MobileNetV2.
        weights: "imagenet" (downloaded by Keras), a weights file for `load_weights`, or None for random
            weights.

    Returns:
        A model from RGB in [-1, 1], (n, height, width, 3), to mean features, (n, size).

    Raises:
        ConfigError: The weights cannot be loaded or do not fit the network.
    """
    model = backbone("MobileNetV2", width, height, weights, alpha=alpha)
    model.trainable = False
    return model


def backbone(
    network: str, width: int, height: int, weights: str | Path | None, **settings: Any
) -> keras.Model:
    """Build a network of `keras.applications` with global average pooling.

    Args:
        network: Name of the class in `keras.applications`, such as "VGG16".
        width: Input width in pixels.
        height: Input height in pixels.
        weights: "imagenet" (downloaded by Keras), a weights file for `load_weights`, a folder holding exactly
            one .h5 file whose name begins with the network's (as in Keras's cache), or None for random
            weights.
        **settings: Further arguments of the network's constructor.

    Returns:
        A model from RGB, scaled as the network expects it, to mean features, (n, size).

    Raises:
        ConfigError: The weights cannot be loaded or do not fit the network.
    """
    named = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # Keras warns about input sizes other than 224x224, and once per layer before a load fails.
            warnings.simplefilter("ignore")
            model = getattr(keras.applications, network)(
                input_shape=(height, width, 3), include_top=False, weights=named, pooling="avg", **settings
            )
            if weights is not None and named is None:
                model.load_weights(_find_weights(Path(weights), network))
    except Exception as error:  # Keras, h5py and urllib raise many types here.
        reason = first_line(error).rstrip(" :.")
        raise ConfigError(
            f"{network} weights {weights}: {reason}: give a file with weights of {network}, "
            "or none for random weights"
        ) from error
    return model


def _find_weights(path: Path, network: str) -> Path:
    """Return `path` itself, or the only .h5 file for this network in the folder `path`."""
    if not path.is_dir():
        return path
    starts = (f"{network.lower()}_", f"{network.lower()}.")
    found = [file for file in path.glob("*.h5") if file.name.lower().startswith(starts)]
    if len(found) != 1:
        raise ConfigError(
            f"expected one .h5 file whose name begins with {network.lower()}, found {len(found)}"
        )
    return found[0]

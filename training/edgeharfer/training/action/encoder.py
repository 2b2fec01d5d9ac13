"""Input representations: how clips become features, and how a head is combined with the feature extractor."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import keras
import numpy as np

from edgeharfer.runtime.errors import MissingExtra
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.motion import motion_trunk, picture_encoder, truncate_network
from edgeharfer.training.action.networks import MOTION, action_model, attach_trunk
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.action.store import ClipStore, Encoder, WindowStore
from edgeharfer.training.backbones import backbone, frame_encoder


def make_encoder(network: keras.Model, threads: int, report: Callable[[str], None]) -> Encoder:
    """Run the network in ONNX Runtime if Keras can export it, which is two to four times as fast as Keras.

    Features are those of the exported package and within 1e-4 of Keras's. The network is exported when the
    first batch arrives, since a run with cached features needs no engine.
    """
    engine = cache(lambda: _make_engine(network, threads, report))
    return Encoder(lambda batch: engine()(batch), _digest(network))


def _make_engine(
    network: keras.Model, threads: int, report: Callable[[str], None]
) -> Callable[[Floats], Floats]:
    try:
        session = make_session(
            Graph.scan(_export_onnx(network), network.name), Backend("cpu", threads=threads)
        )
    except (ImportError, MissingExtra):
        report(
            f"encoding with Keras; to encode faster, install the export extra: {install_command('export')}"
        )
        return lambda batch: np.asarray(network.predict_on_batch(batch), np.float32)
    return session.run1


def _export_onnx(network: keras.Model) -> bytes:
    network(np.zeros((1, *network.input_shape[1:]), np.float32))  # Keras exports only a called model.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Warnings of the converter's imports.
        path = Path(folder, "encoder.onnx")
        network.export(path, format="onnx", verbose=False)
        return path.read_bytes()


def _digest(network: keras.Model) -> str:
    """Hash input shape and weights; both engines give the same features."""
    digest = hashlib.sha256(repr(network.input_shape).encode())
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


Report = Callable[[str], None]


@dataclass(frozen=True)
class InputRepresentation:
    """Features that heads are trained on.

    Attributes:
        store: Computes and caches the features of clips.
        attach_encoder: Combines a head with the feature extractor into a model from clips to probabilities.
    """

    store: ClipStore
    attach_encoder: Callable[[keras.Model], keras.Model]

    @property
    def digest(self) -> str:
        """Identifies how features are made."""
        return self.store.encoder.digest


def make_representation(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> InputRepresentation:
    """Build the input representation of the recipe, with features cached in `folder`.

    Raises:
        ConfigError: The weights cannot be loaded or do not fit.
    """
    make = _motion_representation if recipe.arch == MOTION else _image_representation
    return make(recipe, weights, folder, threads, report)


def _image_representation(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> InputRepresentation:
    encoder = frame_encoder(recipe.width, recipe.height, recipe.alpha, weights)
    store = ClipStore(folder, recipe.clip_spec, make_encoder(encoder, threads, report))
    return InputRepresentation(store, lambda head: action_model(encoder, head))


def _motion_representation(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> InputRepresentation:
    spec = recipe.motion
    network = backbone("MobileNetV2", spec.width, spec.height, weights, alpha=recipe.alpha)
    trunk = motion_trunk(
        recipe.frames, recipe.width, recipe.height, truncate_network(network, spec.layer), spec
    )
    trunk_encoder = make_encoder(trunk, threads, report)
    facts = f"{trunk_encoder.digest} {spec} {recipe.frame_sampler} {recipe.view_windows}"
    pixels = Encoder(lambda batch: batch.reshape(len(batch), -1), hashlib.sha256(facts.encode()).hexdigest())
    store = WindowStore(
        folder,
        recipe.clip_spec,
        pixels,
        trunk=trunk_encoder.run,
        window_sampler=recipe.frame_sampler,
        draws=recipe.view_windows,
    )
    encoder = picture_encoder(recipe.width, recipe.height)
    return InputRepresentation(store, lambda head: action_model(encoder, attach_trunk(trunk, head)))

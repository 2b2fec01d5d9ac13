"""How clips are seen: what makes features of them, and what a head for those features is put on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from edgeharfer.training.action.encoder import make_encoder
from edgeharfer.training.action.motion import cut_off, motion_trunk, picture_encoder
from edgeharfer.training.action.networks import MOTION, action_model, on_trunk
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.action.store import ClipStore, Encoder
from edgeharfer.training.action.windows import WindowStore
from edgeharfer.training.backbones import backbone, frame_encoder

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sight:
    """What heads are trained on and end up in.

    store: makes features of clips. whole: puts a head on what made them, clip -> probabilities.
    """

    store: ClipStore
    whole: Callable[[keras.Model], keras.Model]

    @property
    def digest(self) -> str:
        """Tells apart what features are made by."""
        return self.store.encoder.digest


def make_sight(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> Sight:
    """As the recipe wants it. Features stay in `folder`. Raises ConfigError for weights that do not fit."""
    make = _see_motion if recipe.arch == MOTION else _see_pictures
    return make(recipe, weights, folder, threads, report)


def _see_pictures(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> Sight:
    encoder = frame_encoder(recipe.width, recipe.height, recipe.alpha, weights)
    store = ClipStore(folder, recipe.clip_spec, make_encoder(encoder, threads, report))
    return Sight(store, lambda head: action_model(encoder, head))


def _see_motion(
    recipe: ActionRecipe, weights: str | Path | None, folder: Path, threads: int, report: Report
) -> Sight:
    spec = recipe.motion
    network = backbone("MobileNetV2", spec.width, spec.height, weights, alpha=recipe.alpha)
    trunk = motion_trunk(recipe.frames, recipe.width, recipe.height, cut_off(network, spec.layer), spec)
    seen = make_encoder(trunk, threads, report)
    facts = f"{seen.digest} {spec} {recipe.shaker} {recipe.view_windows}"
    pixels = Encoder(lambda batch: batch.reshape(len(batch), -1), hashlib.sha256(facts.encode()).hexdigest())
    store = WindowStore(
        folder, recipe.clip_spec, pixels, trunk=seen.run, shaker=recipe.shaker, draws=recipe.view_windows
    )
    encoder = picture_encoder(recipe.width, recipe.height)
    return Sight(store, lambda head: action_model(encoder, on_trunk(trunk, head)))

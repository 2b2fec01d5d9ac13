"""Registry of trainable networks. To add one, decorate a build function:

    @emotion_network("tiny", InputSpec(48, 48, "gray", "unit"), "one convolution layer")
    def tiny(x):
        return layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))

A function in a module of its own also needs an import in `emotion.networks` or `action.networks`. The
command line, recipe validation and model cards read EMOTION_NETWORKS and ACTION_NETWORKS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.types import Floats

Tensor = Any
Build = TypeVar("Build", bound=Callable[..., Tensor])
Restore = Callable[[Any, Path, Callable[[], Floats]], None]


@dataclass(frozen=True)
class EmotionNetwork:
    """An emotion network without its classification heads.

    Attributes:
        input: Size, colour and normalisation of the input image.
        build: Maps an image tensor (n, height, width, channels), and optional keyword settings, to features
            (n, size).
        summary: Short description for the model card.
        backbone: Whether it contains networks that accept ImageNet weights.
        restore: Loads initial weights into the whole model from a file or folder; None if it takes none or
            has a backbone. Its last argument returns a sample of the training faces, as the model reads
            them.
    """

    input: InputSpec
    build: Callable[..., Tensor]
    summary: str = "a custom network"
    backbone: bool = False
    restore: Restore | None = None


@dataclass(frozen=True)
class ActionNetwork:
    """The temporal part of an action head.

    Attributes:
        summary: Short description for the model card; `{units}` is replaced by the number of units.
        build: Maps features (n, frames, size), units, pool ("last" or "mean") to (n, units). None for a head
            that is solved in closed form.
    """

    summary: str
    build: Callable[[Tensor, int, str], Tensor] | None = None


EMOTION_NETWORKS: dict[str, EmotionNetwork] = {}
ACTION_NETWORKS: dict[str, ActionNetwork] = {}


def emotion_network(
    name: str,
    picture: InputSpec,
    summary: str,
    *,
    backbone: bool = False,
    restore: Restore | None = None,
) -> Callable[[Build], Build]:
    """Return a decorator that registers a build function as an emotion network; see `EmotionNetwork`."""

    def register(build: Build) -> Build:
        EMOTION_NETWORKS[name] = EmotionNetwork(picture, build, summary, backbone, restore)
        return build

    return register


def action_network(name: str, summary: str) -> Callable[[Build], Build]:
    """Return a decorator that registers a build function as an action network; see `ActionNetwork`."""

    def register(build: Build) -> Build:
        ACTION_NETWORKS[name] = ActionNetwork(summary, build)
        return build

    return register

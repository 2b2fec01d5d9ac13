"""The networks that can be trained, by name. To add one: a function with one of these decorators on it.

    @emotion_network("tiny", InputSpec(48, 48, "gray", "unit"), "one convolution layer")
    def tiny(x):
        return layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))

A function in a module of its own also needs an import in `emotion.networks` or `action.networks`. The
command line, the checks of recipes and the model cards read EMOTION_NETWORKS and ACTION_NETWORKS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeharfer.runtime.inference.manifest import InputSpec

Tensor = Any
Build = TypeVar("Build", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class EmotionNetwork:
    """An emotion network up to its features.

    Attributes:
        input: The picture it takes.
        build: Image tensor (n, height, width, channels), and settings of its own -> features (n, size).
        summary: What it is, for the model card.
        backbone: It holds networks that take ImageNet weights.
    """

    input: InputSpec
    build: Callable[..., Tensor]
    summary: str = "a network of its own"
    backbone: bool = False


@dataclass(frozen=True)
class ActionNetwork:
    """What an action head does over time.

    Attributes:
        summary: What it is, for the model card; `{units}` stands for their number.
        build: Features (n, frames, size), units, and "last" or "mean" -> (n, units). None for a head that is
            solved in closed form.
    """

    summary: str
    build: Callable[[Tensor, int, str], Tensor] | None = None


EMOTION_NETWORKS: dict[str, EmotionNetwork] = {}
ACTION_NETWORKS: dict[str, ActionNetwork] = {}


def emotion_network(
    name: str, picture: InputSpec, summary: str, *, backbone: bool = False
) -> Callable[[Build], Build]:
    """Register a function that builds an emotion network, see `EmotionNetwork`."""

    def register(build: Build) -> Build:
        EMOTION_NETWORKS[name] = EmotionNetwork(picture, build, summary, backbone)
        return build

    return register


def action_network(name: str, summary: str) -> Callable[[Build], Build]:
    """Register a function that builds the part of an action head over time, see `ActionNetwork`."""

    def register(build: Build) -> Build:
        ACTION_NETWORKS[name] = ActionNetwork(summary, build)
        return build

    return register

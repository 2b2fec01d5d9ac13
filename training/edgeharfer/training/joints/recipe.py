"""Settings of a training on joints."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.types import BACKGROUND
from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.joints.tracks import FALL
from edgeharfer.training.joints.windows import Disturbance


@dataclass(frozen=True)
class JointRecipe:
    """All settings.

    Attributes:
        name: Name of the package.
        actions: Classes that the true joints show.
        arch: A key of ACTION_NETWORKS with a network over time.
        units: Its units.
        pool: "last" or "mean".
        feature_dropout: Dropout rate of features, each for a whole window.
        dropout: Dropout rate before the last layer.
        frames: Frames of a window.
        seconds: Length of a window.
        max_gap_s: Longest gap between frames that does not restart the window.
        windows: Number of windows that are drawn.
        background_share: Share of them that show none of the actions.
        other_share: Share of them that show true joints of other actions, as background.
        fall_share: Share of them that show falls.
        epochs: Number of epochs.
        batch: Batch size.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        label_smoothing: Label smoothing.
        left_out: Names of folders of background clips that show one of the actions.
        disturbance: Errors that are added to true joints in training.
        disagreement: How far two pose models disagree: errors that are added to test joints.
        threshold: Score below which no action is reported.
        background_threshold: Score from which the background is reported if no action reaches the threshold;
            0 uses `threshold`.
        seed: Seed of all random draws.
        provenance: Origin and terms of the data, sentences for the model card.
        remarks: Limits, sentences for the model card.

    Raises:
        ConfigError: A value does not fit.
    """

    name: str = "action-daily"
    actions: tuple[str, ...] = ("clap", "wave", "pick", "walk", "sit", "stand", "push", "throw")
    arch: str = "tcn"
    units: int = 48
    pool: str = "mean"
    feature_dropout: float = 0.1
    dropout: float = 0.3
    frames: int = 16
    seconds: float = 2.0
    max_gap_s: float = 0.5
    windows: int = 24_000
    background_share: float = 0.35
    other_share: float = 0.03
    fall_share: float = 0.12
    epochs: int = 12
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    left_out: tuple[str, ...] = ()
    disturbance: Disturbance = field(default_factory=Disturbance)
    disagreement: Disturbance = field(default_factory=Disturbance)
    threshold: float = 0.6
    background_threshold: float = 0.0
    seed: int = 1
    provenance: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = [name for name, network in ACTION_NETWORKS.items() if network.build is not None]
        if self.arch not in known:
            raise ConfigError(f"arch = {self.arch!r}: choose from {', '.join(known)}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return (*self.actions, FALL, BACKGROUND)

    @property
    def window(self) -> WindowSpec:
        """The window of the package."""
        return WindowSpec(self.frames, self.seconds, self.max_gap_s)

"""All settings of an action training, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeharfer.runtime.manifest import InputSpec, WindowSpec
from edgeharfer.training.action.folds import RULES, check_pattern
from edgeharfer.training.action.head import HeadRecipe, check_name
from edgeharfer.training.action.sampling import Sampler, make_sampler
from edgeharfer.training.action.store import ClipSpec
from edgeharfer.training.action.views import ViewRanges


@dataclass(frozen=True)
class ActionRecipe(HeadRecipe):
    """All that decides what a training run gives.

    name: of the package. width, height: of the picture that the backbone sees, the whole frame stretched.
    Of 4 to 3 by default, as most cameras are: on the 20 UCF101 classes that told 3 % more clips than a
    square of as many pixels, and 320x240 no more.
    frames, seconds, max_gap_s: the window that the package asks of the runtime, whatever the sampling.
    grouping: what must not be torn apart, "scenes", "numbers", "subject" or "clips", with `subject` a
    pattern for names (see `group_clips`). provenance: origin and terms of the data, sentences for the model
    card. Raises ConfigError for what cannot be used.
    """

    name: str = "action"
    width: int = 256
    height: int = 192
    alpha: float = 1.0
    frames: int = 16
    seconds: float = 2.0
    max_gap_s: float = 0.5
    views: int = 6
    view_seconds: float = 4.0
    ranges: ViewRanges = field(default_factory=ViewRanges)
    folds: int = 5
    grouping: str = "scenes"
    subject: str = ""
    provenance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("grouping", self.grouping, RULES)
        if self.grouping == "subject":
            check_pattern(self.subject)

    @property
    def split(self) -> str:
        """How clips are kept apart, in words."""
        return f"{self.folds} folds of {RULES[self.grouping].format(pattern=self.subject)}"

    @property
    def sampler(self) -> Sampler:
        """How windows are made of a clip."""
        return make_sampler(self.sampling, self.clip_spec.window, self.speed, self.jitter)

    @property
    def clip_spec(self) -> ClipSpec:
        """What the cached features depend on, beside the clips and the backbone."""
        picture = InputSpec(self.width, self.height, "rgb", "symmetric")
        window = WindowSpec(self.frames, self.seconds, self.max_gap_s)
        return ClipSpec(picture, window, self.sampling, self.views, self.view_seconds, self.ranges)

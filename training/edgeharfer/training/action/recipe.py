"""All settings of an action training, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeharfer.runtime.manifest import InputSpec, WindowSpec
from edgeharfer.training.action.clips import ClipSpec
from edgeharfer.training.action.head import HeadRecipe
from edgeharfer.training.action.views import ViewRanges


@dataclass(frozen=True)
class ActionRecipe(HeadRecipe):
    """All that decides what a training run gives.

    name: of the package. width, height: of the picture that the backbone sees, the whole frame stretched.
    Of 4 to 3 by default, as most cameras are: on the 20 UCF101 classes that told 3 % more clips than a
    square of as many pixels, and 320x240 no more.
    frames, seconds, max_gap_s: the window. grouping: for clips without a `gNN` in their names, "scenes"
    or "numbers" (see `group_clips`). provenance: origin and terms of the data, sentences for the model card.
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
    provenance: tuple[str, ...] = ()

    @property
    def clip_spec(self) -> ClipSpec:
        """What the cached features depend on, beside the clips and the backbone."""
        picture = InputSpec(self.width, self.height, "rgb", "symmetric")
        window = WindowSpec(self.frames, self.seconds, self.max_gap_s)
        return ClipSpec(picture, window, self.views, self.view_seconds, self.ranges)

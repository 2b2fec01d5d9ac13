"""All settings of an action training, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import InputSpec, WindowSpec
from edgeharfer.training.action.find import BACKGROUND
from edgeharfer.training.action.folds import GROUPING_RULES, check_pattern
from edgeharfer.training.action.head import HeadRecipe, check_name
from edgeharfer.training.action.motion import MotionSpec
from edgeharfer.training.action.networks import MOTION
from edgeharfer.training.action.sampling import EncodedWindows, Sampler, TimedWindows, make_sampler
from edgeharfer.training.action.store import ClipSpec
from edgeharfer.training.action.views import ViewRanges


@dataclass(frozen=True)
class ActionRecipe(HeadRecipe):
    """All that decides what a training run gives.

    name: of the package. width, height: of the picture that the backbone sees, the whole frame stretched.
    Of 4 to 3 by default, as most cameras are: on the 20 UCF101 classes that told 3 % more clips than a
    square of as many pixels, and 320x240 no more.
    frames, seconds, max_gap_s: the window that the package asks of the runtime, whatever the sampling.
    folds: 0 holds out each group once, which no draw decides and which leaves most to learn from.
    grouping: what must not be torn apart, "scenes", "numbers", "subject" or "clips", with `subject` a
    pattern for names (see `group_clips`). background: the class that clips given as background count as.
    threshold_slack: see `choose_threshold`. motion: how it is shown where `arch` is "motion"; the pictures
    are grey then, and `view_windows` of each view are encoded, at any speed. provenance: origin and terms of
    the data, sentences for the model card. remarks: what its figures cannot say.
    Raises ConfigError for what cannot be used.
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
    background: str = BACKGROUND
    threshold_slack: float = 0.0
    motion: MotionSpec = field(default_factory=MotionSpec)
    provenance: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("grouping", self.grouping, GROUPING_RULES)
        if self.grouping == "subject":
            check_pattern(self.subject)
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"folds = {self.folds}: 2 or more, or 0 for one a group")
        if self.arch == MOTION and self.sampling != "time":
            raise ConfigError(f"arch = 'motion' needs steps of time: sampling = {self.sampling!r} has others")

    @property
    def split(self) -> str:
        """How clips are kept apart, in words."""
        count = f"{self.folds} folds of" if self.folds else "one fold for each of the"
        return f"{count} {GROUPING_RULES[self.grouping].format(pattern=self.subject)}"

    @property
    def sampler(self) -> Sampler:
        """How windows are made of an encoded clip."""
        return EncodedWindows() if self.arch == MOTION else self.frame_sampler

    @property
    def live_sampler(self) -> Sampler:
        """The same, but clips are judged by the windows that `run` would see."""
        return self.sampler if self.sampling == "time" else TimedWindows(self.clip_spec.window)

    @property
    def frame_sampler(self) -> Sampler:
        """How windows are put together of pictures."""
        return make_sampler(self.sampling, self.clip_spec.window, self.speed, self.jitter)

    @property
    def clip_spec(self) -> ClipSpec:
        """What the cached features depend on, beside the clips and the backbone."""
        picture = InputSpec(self.width, self.height, "rgb", "symmetric")
        if self.arch == MOTION:
            picture = InputSpec(self.width, self.height, "gray", "unit")
        window = WindowSpec(self.frames, self.seconds, self.max_gap_s)
        return ClipSpec(picture, window, self.sampling, self.views, self.view_seconds, self.ranges)

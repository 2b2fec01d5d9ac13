"""Settings of an action training."""

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
    """All settings of an action training, in addition to those of the head.

    Attributes:
        name: Name of the package.
        width: Width of the backbone's input in pixels; the whole frame is stretched.
        height: Height of the backbone's input. 4:3 by default, as most cameras: on the 20 UCF101 classes that
            was 3 points better than a square of as many pixels, and 320x240 was not better still.
        alpha: Width multiplier of MobileNetV2.
        frames: Frames of the runtime's window, whatever the sampling.
        seconds: Length of the runtime's window.
        max_gap_s: Longest gap between frames that does not restart the window.
        views: Augmented copies per clip.
        view_seconds: Part of a clip that a view covers, with sampling by time.
        ranges: Strength of the augmentation.
        folds: Folds of the cross-validation; 0 holds out each group once.
        grouping: What is never split between folds: "scenes", "numbers", "subject" or "clips"; see
            `folds.group_clips`.
        subject: Pattern for grouping by subject.
        background: Class of the clips given as background.
        threshold_slack: See `confidence.choose_threshold`.
        temperature: Temperature of the scores; 0 fits it to held-out windows. A higher one leaves more room
            between the scores of known and unknown scenes.
        background_threshold: Score from which the background is reported if no action reaches the threshold;
            0 uses the same threshold.
        max_named: Raise the threshold until at most this share of the windows of background from sources that
            a head was not trained on is named; 1 disables it.
        motion: Presentation of motion, with `arch` "motion". Frames are grey then, and `view_windows` windows
            of each view are encoded.
        provenance: Origin and terms of the data, sentences for the model card.
        remarks: Limits of the figures, sentences for the model card.

    Raises:
        ConfigError: A value is out of range or does not fit another.
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
    temperature: float = 0.0
    background_threshold: float = 0.0
    max_named: float = 1.0
    motion: MotionSpec = field(default_factory=MotionSpec)
    provenance: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("grouping", self.grouping, GROUPING_RULES)
        if self.grouping == "subject":
            check_pattern(self.subject)
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"folds = {self.folds}: choose at least 2, or 0 for one fold per group")
        if self.arch == MOTION and self.sampling != "time":
            raise ConfigError(f"sampling = {self.sampling!r}: arch = 'motion' requires sampling = 'time'")

    @property
    def split(self) -> str:
        """Description of the cross-validation."""
        count = f"{self.folds} folds of" if self.folds else "one fold for each of the"
        return f"{count} {GROUPING_RULES[self.grouping].format(pattern=self.subject)}"

    @property
    def sampler(self) -> Sampler:
        """Makes the windows that heads are trained on and evaluated by."""
        return EncodedWindows() if self.arch == MOTION else self.frame_sampler

    @property
    def live_sampler(self) -> Sampler:
        """Like `sampler`, but clips are evaluated by the windows that `run` would see."""
        return self.sampler if self.sampling == "time" else TimedWindows(self.clip_spec.window)

    @property
    def frame_sampler(self) -> Sampler:
        """Makes windows of encoded frames."""
        return make_sampler(self.sampling, self.clip_spec.window, self.speed, self.jitter)

    @property
    def clip_spec(self) -> ClipSpec:
        """Settings that cached features depend on, besides clips and backbone."""
        picture = InputSpec(self.width, self.height, "rgb", "symmetric")
        if self.arch == MOTION:
            picture = InputSpec(self.width, self.height, "gray", "unit")
        window = WindowSpec(self.frames, self.seconds, self.max_gap_s)
        return ClipSpec(picture, window, self.sampling, self.views, self.view_seconds, self.ranges)

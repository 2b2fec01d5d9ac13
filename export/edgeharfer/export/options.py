"""What the caller knows of a model that its file does not say: how it was trained, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeharfer.runtime.errors import ConfigError

Channels = Literal["rgb", "bgr", "gray"]
Crop = Literal["face", "frame", "center"]
Layout = Literal["auto", "nhwc", "nchw"]
Head = Literal["auto", "softmax", "sigmoid", "logits"]

CHANNELS: tuple[Channels, ...] = ("rgb", "bgr", "gray")
CROPS: tuple[Crop, ...] = ("face", "frame", "center")
LAYOUTS: tuple[Layout, ...] = ("auto", "nhwc", "nchw")
HEADS: tuple[Head, ...] = ("auto", "softmax", "sigmoid", "logits")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Facts about a model. What is None, empty or "auto" is taken from the model or its record.

    Attributes:
        channels: Colour channels and their order. A model of three channels may take "gray".
        mean: Subtracted from the red, green and blue channel; one number stands for all channels.
        std: Each channel is divided by it afterwards.
        crop: "face" reads faces, "frame" whole frames without keeping their aspect ratio, "center" the
            largest centred part of a frame that has the aspect ratio of the model's input.
        frames: Number of frames in a clip.
        seconds: Duration of a clip; of a model of single pictures, the time between two of them.
        size: Width and height of the model's pictures.
        layout: Order of the axes of a picture: "nhwc" for (height, width, channels), or "nchw".
        head: What the outputs are: probabilities ("softmax"), independent probabilities of each class, or
            that of the second of two classes ("sigmoid"), or unbounded scores ("logits").
        output: Name of the output to export from a model with several.
    """

    channels: Channels | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: Crop | None = None
    frames: int | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    layout: Layout = "auto"
    head: Head = "auto"
    output: str | None = None

    def __post_init__(self) -> None:
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, 3):
                raise ConfigError(f"--{what}: takes one number, or three for red, green and blue")
        if any(value <= 0 for value in self.std):
            raise ConfigError("--std: must be greater than 0")

    @property
    def reads_frames(self) -> bool:
        """Whether these options only make sense for a model of whole frames or clips."""
        return self.crop in ("frame", "center") or self.frames is not None or self.seconds is not None

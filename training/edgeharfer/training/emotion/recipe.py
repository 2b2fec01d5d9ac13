"""All settings of an emotion training, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgeharfer.training.emotion.augment import FaceAugmentation
from edgeharfer.training.optimizers import LEARNING_RATES

LIGHT_AUGMENTATION = FaceAugmentation(
    rotation_deg=10, zoom=0.08, shift=3 / 48, gamma=0.3, contrast=0.2, blur_probability=0.1,
    noise_probability=0.1, noise=6, erase_probability=0.15, mixup_probability=0,
)  # fmt: skip
NO_MIXUP = FaceAugmentation(mixup_probability=0)


@dataclass(frozen=True)
class FinishingPhase:
    """A part after the main one, which goes through a schedule of its own once.

    batch_share: of the main part's batch. aligned_share: as the recipe's, of which the larger counts.
    """

    epochs: int
    learning_rate: float = 3e-4
    batch_share: float = 0.5
    aligned_share: float = 0.6
    augmentation: FaceAugmentation = LIGHT_AUGMENTATION


@dataclass(frozen=True)
class EmotionRecipe:
    """All that decides what a training run gives.

    arch: a name of EMOTION_NETWORKS. side: of the picture that it takes, pixels; None is its own.
    clahe: whether local contrast is evened, in training and at run time.
    optimizer, learning_rate, schedule: see `optimizers`; plateau: for that schedule, in epochs.
    weight_decay: decoupled, with adamw. l2: penalty on kernels in the loss, with any optimizer.
    cycles: how often `epochs` are run, each time from half the learning rate before (warm restarts).
    frozen_epochs: epochs at first in which a backbone keeps its weights.
    focal_gamma: focal loss above 0. class_weight_cap: the largest class weight; 0 is none.
    majority: FER+ teaches its majority's label, not the distribution of the votes.
    ema: share of the average of the weights kept at each step; 0 is off. patience: in epochs.
    validation_share: of the training pictures, held back to choose the best epoch and the temperature.
    aligned_share: how often the network sees a face as the runtime cuts it, not as the data set does.
    provenance: origin and terms of weights that it started from, sentences for the model card.
    limit: train on so many pictures at the most, drawn at random; None takes all.
    drop_copies: whether copies, within the training split and of evaluation pictures, are left out.
    finish: parts after the main one, such as more epochs on faces that are changed less. The weights of all
    parts are averaged as held-back pictures choose (see `loop.soup`).
    """

    arch: str = "mobilenetv2"
    side: int | None = None
    clahe: bool = False
    optimizer: str = "adamw"
    learning_rate: float | None = 6e-4
    schedule: str = "cosine"
    plateau: int = 3
    weight_decay: float = 0.05
    l2: float = 0.0
    batch: int = 64
    epochs: int = 16
    cycles: int = 1
    frozen_epochs: int = 0
    patience: int = 10
    ema: float = 0.999
    label_smoothing: float = 0.1
    focal_gamma: float = 0.0
    class_weight_cap: float = 0.0
    majority: bool = False
    validation_share: float = 0.05
    aligned_share: float = 0.5
    limit: int | None = None
    drop_copies: bool = True
    provenance: tuple[str, ...] = ()
    dtype: str = "float32"
    seed: int = 1
    augmentation: FaceAugmentation = field(default_factory=FaceAugmentation)
    finish: tuple[FinishingPhase, ...] = (
        FinishingPhase(9),
        FinishingPhase(14),
        FinishingPhase(7, batch_share=1.0, augmentation=FaceAugmentation()),
        FinishingPhase(6, augmentation=NO_MIXUP),
    )

    def phases(self) -> dict[str, EmotionRecipe]:
        """The parts of a run, each a recipe: "frozen", "main", "main-2" ..., "finish", "finish-2" ..."""
        frozen = replace(self, epochs=self.frozen_epochs, seed=self.seed + 2)
        again = {_name("main", number): self.cycle(number) for number in range(1, self.cycles)}
        last = {_name("finish", number): self._finish(number) for number in range(len(self.finish))}
        parts = {"frozen": frozen, "main": self, **again, **last}
        return {name: part for name, part in parts.items() if part.epochs}

    def cycle(self, number: int) -> EmotionRecipe:
        """A later run through the schedule (Loshchilov & Hutter 2017), on other draws."""
        rate = (self.learning_rate or LEARNING_RATES[self.optimizer]) / 2**number
        return replace(self, learning_rate=rate, seed=self.seed + 100 * number)

    def _finish(self, number: int) -> EmotionRecipe:
        part = self.finish[number]
        return replace(
            self,
            epochs=part.epochs,
            learning_rate=part.learning_rate,
            schedule="cosine",
            batch=max(2, round(self.batch * part.batch_share)),
            aligned_share=max(part.aligned_share, self.aligned_share),
            augmentation=part.augmentation,
            seed=self.seed + 10 + 100 * number,
        )


def _name(part: str, number: int) -> str:
    return part if number == 0 else f"{part}-{number + 1}"

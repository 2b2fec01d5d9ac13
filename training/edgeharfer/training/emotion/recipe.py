"""Settings of an emotion training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.emotion.augment import FaceAugmentation
from edgeharfer.training.optimizers import LEARNING_RATES

LIGHT_AUGMENTATION = FaceAugmentation(
    rotation_deg=10, zoom=0.08, shift=3 / 48, gamma=0.3, contrast=0.2, blur_probability=0.1,
    noise_probability=0.1, noise=6, erase_probability=0.15, mixup_probability=0,
)  # fmt: skip
NO_MIXUP = FaceAugmentation(mixup_probability=0)


@dataclass(frozen=True)
class FinishingPhase:
    """A phase after the main one, with a cosine schedule of its own.

    Attributes:
        epochs: Number of epochs.
        learning_rate: Peak learning rate.
        batch_share: Batch size relative to the main phase.
        aligned_share: As in the recipe; the larger of the two is used.
        augmentation: Augmentation of this phase.
    """

    epochs: int
    learning_rate: float = 3e-4
    batch_share: float = 0.5
    aligned_share: float = 0.6
    augmentation: FaceAugmentation = LIGHT_AUGMENTATION


@dataclass(frozen=True)
class EmotionRecipe:
    """All settings of an emotion training.

    Attributes:
        arch: A key of EMOTION_NETWORKS.
        side: Input side in pixels; None uses the network's own.
        clahe: Equalise local contrast (CLAHE), in training and at run time.
        optimizer: A key of `optimizers.LEARNING_RATES`.
        learning_rate: Peak learning rate; None uses the optimizer's default.
        schedule: One of `optimizers.SCHEDULES`.
        plateau: Epochs without a better score before the rate is halved, with schedule "plateau".
        weight_decay: Decoupled weight decay, with optimizer "adamw".
        l2: L2 penalty on kernels, with any optimizer.
        batch: Batch size.
        epochs: Maximum epochs of the main phase.
        cycles: Times the main phase is run, each at half the previous learning rate (warm restarts).
        frozen_epochs: Initial epochs with a frozen backbone.
        patience: Epochs without a better score before a phase stops.
        ema: Decay of the moving average of the weights; 0 disables it.
        label_smoothing: Label smoothing of FER-2013's labels.
        focal_gamma: Gamma of the focal loss; 0 uses cross-entropy.
        class_weight_cap: Largest class weight; 0 disables class weights.
        label_weight: Weight of the loss on FER-2013's labels, from 0 to 2, if there are votes, whose loss has
            the rest.
        majority: Train on the majority label of the FER+ votes instead of their distribution.
        distillation: Share of the teachers' answers in the targets.
        votes_share: Share of what the votes say about FER-2013's label in the teachers' answers, see
            `distill.inform_answers`; from 0 to 1.
        joined_share: Share of FER-2013's label in the targets of the votes, for `distill.JOINED`.
        sampling_power: Faces are drawn in inverse proportion to the shares of their classes to this power; 0
            shows every face once an epoch. The biases of the heads are corrected for it after training.
        min_lift: An uncertain label counts where the teachers find it this many times as likely as on
            average.
        blends: Number of faces made of two training faces (`blend.blend_faces`) that are added with the
            teachers' answers alone.
        blend_share: Chance that a face that is drawn is one of these.
        expressions: Number of training faces with changed expressions (`expressions.make_expressions`) that
            are added.
        expression_share: Chance that a face that is drawn is one of these.
        fit_biases: Fit the biases of the heads on the held-out images after training, so that the mean
            probabilities equal the shares of the classes.
        prior_evenness: How much the runtime's default prior is flattened: class shares of the training images
            to the power 1 - evenness. Over a third of FER+ is neutral; with that prior, live faces would
            rarely be classified as anything else. The recipes' values were chosen on held-out images
            (docs/training.md).
        validation_share: Share of the training images held out to select the best epoch and the temperature.
        aligned_share: Share of training images cropped as at run time, not as in the data set.
        limit: Maximum number of training images, drawn at random; None uses all.
        drop_copies: Drop duplicates within the training split and of evaluation images.
        provenance: Origin and terms of the initial weights and further faces, sentences for the model card.
        dtype: Keras dtype policy of the computation.
        seed: Seed of all random draws.
        mixup_epochs: Epochs of a phase after which it has neither mixup nor CutMix; None keeps them.
        augmentation: Augmentation of the main phase.
        finish: Phases after the main one. The weights of all phases are averaged by `loop.greedy_soup`.
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
    label_weight: float = 1.0
    majority: bool = False
    distillation: float = 0.5
    votes_share: float = 0.0
    joined_share: float = 0.0
    sampling_power: float = 0.0
    min_lift: float = 1.5
    blends: int = 0
    blend_share: float = 0.5
    expressions: int = 0
    expression_share: float = 0.13
    fit_biases: bool = False
    prior_evenness: float = 0.65
    validation_share: float = 0.05
    aligned_share: float = 0.5
    limit: int | None = None
    drop_copies: bool = True
    provenance: tuple[str, ...] = ()
    dtype: str = "float32"
    seed: int = 1
    mixup_epochs: int | None = None
    augmentation: FaceAugmentation = field(default_factory=FaceAugmentation)
    finish: tuple[FinishingPhase, ...] = (
        FinishingPhase(9),
        FinishingPhase(14),
        FinishingPhase(7, batch_share=1.0, augmentation=FaceAugmentation()),
        FinishingPhase(6, augmentation=NO_MIXUP),
    )

    def __post_init__(self) -> None:
        for key, value, limit in (
            ("label_weight", self.label_weight, 2), ("votes_share", self.votes_share, 1),
            ("prior_evenness", self.prior_evenness, 1),
        ):  # fmt: skip
            if not 0 <= value <= limit:
                raise ConfigError(f"{key} = {value:g}: choose a number from 0 to {limit}")

    def phases(self) -> dict[str, EmotionRecipe]:
        """Return the phases of a run by name: "frozen", "main", "main-2" ..., "finish", "finish-2" ..."""
        frozen = replace(self, epochs=self.frozen_epochs, seed=self.seed + 2)
        restarts = {_name("main", number): self.cycle(number) for number in range(1, self.cycles)}
        finishing = {_name("finish", number): self._finish(number) for number in range(len(self.finish))}
        all_phases = {"frozen": frozen, "main": self, **restarts, **finishing}
        return {name: phase for name, phase in all_phases.items() if phase.epochs}

    def cycle(self, number: int) -> EmotionRecipe:
        """Return the recipe of a warm restart (Loshchilov & Hutter 2017), with another seed."""
        rate = (self.learning_rate or LEARNING_RATES[self.optimizer]) / 2**number
        return replace(self, learning_rate=rate, seed=self.seed + 100 * number)

    def _finish(self, number: int) -> EmotionRecipe:
        phase = self.finish[number]
        return replace(
            self,
            epochs=phase.epochs,
            learning_rate=phase.learning_rate,
            schedule="cosine",
            batch=max(2, round(self.batch * phase.batch_share)),
            aligned_share=max(phase.aligned_share, self.aligned_share),
            augmentation=phase.augmentation,
            seed=self.seed + 10 + 100 * number,
        )


def _name(phase: str, number: int) -> str:
    return phase if number == 0 else f"{phase}-{number + 1}"

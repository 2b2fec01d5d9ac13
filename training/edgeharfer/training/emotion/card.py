"""The model card of an emotion package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.training.emotion.networks import EMOTION_NETWORKS
from edgeharfer.training.records import markdown_table

LABEL_DESCRIPTIONS = {
    "fer7": "FER-2013's label",
    "fer8": "the majority of ten FER+ votes (over half of them, single votes dropped)",
}

NORMALIZATION_DESCRIPTIONS = {
    "none": "values of 0 to 255",
    "unit": "scaled to [0, 1]",
    "symmetric": "scaled to [-1, 1]",
    "standardize": "standardised per image",
    "imagenet": "normalised by ImageNet's mean and standard deviation",
}

_CARD = """\
# {name}

Classifies facial expressions into {count} classes: {labels}.

## Model

{arch}: {description}.
Input: {picture}. {parameters:,} parameters in the trunk and all heads trained with it. The face is
aligned by its eyes and cropped as in FER-2013, by the same code in training and at run time.

## Data and its terms

{pictures:,} training images of FER-2013 (Goodfellow et al. 2013: for research, no grant to redistribute the
images){votes}.{provenance}
Dropped from the training split: {dropped}.
This package contains no images.

## Accuracy

{split}, {n:,} images, one crop, label: {truth}.
Neither this split nor duplicates of its images were used for training; {validation:,} training images were
held out to select epochs, weights and priors.

| prior | top-1 | macro F1 | mean recall |
|---|---|---|---|
| data: class shares of the training images | **{data_top1:.1%}** | {data_f1:.3f} | {data_recall:.1%} |
| balanced: {assumed} | **{package_top1:.1%}** | {package_f1:.3f} | {package_recall:.1%} |
| uniform: all classes equal | **{uniform_top1:.1%}** | {uniform_f1:.3f} | {uniform_recall:.1%} |

`edgeharfer run` uses the balanced prior by default; `--prior` selects another. Mean recall covers the classes
with at least 20 images. Probabilities are calibrated by one temperature, {temperature:g}, fitted on the
held-out images: expected calibration error {before:.3f} before, {after:.3f} after.

By class, with the balanced prior:

{table}

## Limits

- A label describes the expression that others see, not what a person feels, and people differ in what they
  show.
- FER-2013 consists of web images with noisy labels: human raters agree with about two thirds of them.
- Rare classes (disgust{rare}) have few training images.
- Accuracy is lower for profile views, masks, strong back light and small faces.
- Accuracy by age, skin tone and culture has not been measured: the data has no such annotations.

## Use

- Intended: demonstrations, research, feedback that a person asked for and can ignore.
- Not for: hiring, schooling, policing, medical or any decision about a person. In the European Union
  emotion recognition at work and in education is prohibited (AI Act, Art. 5(1)(f)), and elsewhere people
  must be informed of it (Art. 50(3)).
"""


def model_card(
    name: str, head: str, facts: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]
) -> str:
    """Render the model card of one head's package.

    Args:
        name: Name of the package.
        head: "fer7" or "fer8".
        facts: arch, input, parameters, pictures, validation, votes, dropped, temperature, calibration,
            assumed, split, provenance (sentences).
        figures: Results of `metrics.score` on the evaluation split under the priors "data", "package" and
            "uniform".
    """
    chosen = figures["package"]
    dropped = ", ".join(f"{count:,} {why}" for why, count in facts["dropped"].items()) or "none"
    by_prior = {
        f"{prior}_{short}": value
        for prior, found in figures.items()
        for short, value in (
            ("top1", found["top1"]),
            ("f1", found["macro_f1"]),
            ("recall", mean_recall(found)),
        )
    }
    return _CARD.format(
        name=name,
        count=len(chosen["labels"]),
        labels=", ".join(chosen["labels"]),
        n=chosen["n"],
        truth=LABEL_DESCRIPTIONS[head],
        description=EMOTION_NETWORKS[facts["arch"]].summary,
        picture=describe_input(facts["input"]),
        table=markdown_table(chosen),
        votes=", with the distribution of FER+ votes (Barsoum et al. 2016, MIT) for a second head"
        * facts["votes"],
        rare=", contempt" * ("contempt" in chosen["labels"]),
        **{
            key: value
            for key, value in facts.items()
            if key not in ("votes", "dropped", "calibration", "provenance")
        },
        provenance="".join(f"\n{sentence}" for sentence in facts["provenance"]),
        **facts["calibration"],
        dropped=dropped,
        **by_prior,
    )


def describe_lessons(facts: Mapping[str, Any]) -> list[str]:
    """Describe the teachers and the further faces of a run for the model card, a sentence each.

    Args:
        facts: "teachers" (names of runs), "further_faces" (counts of `train.Lessons`) and "votes_share" (of
            the recipe).
    """
    sentences = []
    if facts.get("teachers"):
        sentences.append(f"It was taught by the answers of earlier runs: {', '.join(facts['teachers'])}.")
    if facts.get("votes_share"):
        sentences.append(
            "For the labels of FER-2013, these answers take in what the FER+ votes say about them."
        )
    counts = facts.get("further_faces", {})
    kinds = {
        "uncertain": "photographs with uncertain labels",
        "unlabelled": "faces of clips",
        "blends": "faces made of two training faces",
    }
    sentences += [
        f"Further {kind}, added with the teachers' answers: {counts[key]:,}."
        for key, kind in kinds.items()
        if counts.get(key)
    ]
    if counts.get("expressions"):
        sentences.append(
            "Training faces with changed expressions, added with the expression and the teachers' answers: "
            f"{counts['expressions']:,}."
        )
    if counts.get("uncertain"):
        sentences.append(
            f"Uncertain labels that the teachers found likely, so that they count: {counts['counted']:,}."
        )
    return sentences


def describe_input(spec: InputSpec) -> str:
    """Describe the network's input for the model card."""
    contrast = ", with equalised local contrast (CLAHE)" if spec.clahe else ""
    color = "grey" if spec.color == "gray" else "colour"
    size = f"{spec.width}x{spec.height}"
    return f"a {size} {color} face{contrast}, {NORMALIZATION_DESCRIPTIONS[spec.normalize]}"


def mean_recall(figures: Mapping[str, Any]) -> float:
    """Return the mean recall of the classes with at least 20 samples; smaller ones are too noisy."""
    rows = [row["recall"] for row in figures["per_class"].values() if row["support"] >= 20]
    return float(sum(rows) / max(1, len(rows)))

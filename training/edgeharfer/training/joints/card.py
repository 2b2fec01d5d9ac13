"""The model card of a training on joints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.joints.recipe import JointRecipe

_CARD = """\
# {name}

Recognises {actions} and falls, from the joints of the main person
over the last {seconds:g} s.

`background` stands for people who do none of this, such as talking, typing or gesturing in front of a webcam.

## Model

The package `pose` finds the joints of one person {rate:g} times a second. The head reads their places
relative to the shoulders and their movement, in lengths of the torso, and whether they are seen. It sees
neither the picture nor the place. Network: {network}.

## Data and its terms

{provenance}

**Never seen as pictures**: {unseen}. For these the head was only trained and
tested on joints that people marked by hand; {seen} are also shown by clips. Expect more errors
than the figures below say where the pose model errs: people who are partly hidden, far away or in dim light.

## Accuracy

- True joints of {clips} test clips, {count} classes: **{top1:.1%}**; {top1_of_all:.1%} if falls and
  background count as possible answers. Chance is {chance:.1%}; a clip is {step:.1f} points.
- The same joints, disturbed as two pose models disagree: **{disturbed:.1%}**.
- Falls, each person held out: **{found} of {falls}** reported within two seconds of their beginning, or of
  the first full window. Held-out clips with a fall reported where there was none: {false_falls}.
- An action is reported from a score of {threshold:g}; otherwise the runtime reports {otherwise}.

Silence, each source held out once (shares of ready frames that are named, uncertain, background):

{sources}

Daily life at home, each person held out (number of readings):

{daily}

## Limits

- One person: with several in view, the pose model may change from one to another.
- Each class stands for its typical form: a wave with one hand above the elbow, picking up from the floor.
  Other movements with similar joints get the same name, such as stretching or exercises.
- Sitting at a table hides the hips; then only clap, wave and throw can be expected.
- The falls are of {people} people, on purpose, in daylight.
{remarks}
## Use

- Intended: demonstrations, counting of gestures, a starting point for training on your own clips; research.
- Not for: decisions about people, surveillance, medical or safety-critical alarms. It is not a fall alarm.
"""


def model_card(metrics: Mapping[str, Any], recipe: JointRecipe) -> str:
    """Return the card with all figures of a run."""
    figures, falls = metrics["true_joints"], metrics["falls"]
    return _CARD.format(
        name=recipe.name,
        actions=", ".join(recipe.actions),
        count=len(recipe.actions),
        seconds=recipe.seconds,
        rate=recipe.frames / recipe.seconds,
        network=ACTION_NETWORKS[recipe.arch].summary.format(units=recipe.units),
        provenance="\n".join(f"- {line}" for line in recipe.provenance or ("Not stated.",)),
        clips=figures["clips"],
        top1=figures["top1"],
        top1_of_all=figures["top1_of_all"],
        chance=1 / len(recipe.actions),
        step=100 / max(1, figures["clips"]),
        disturbed=figures["disturbed"]["top1"],
        found=sum(row["delay_s"] is not None and row["delay_s"] <= 2 for row in falls),
        falls=len(falls),
        people=len({row["clip"].split("/")[0] for row in falls}),
        false_falls=_count_by_source(metrics["false_falls"]),
        unseen=", ".join(name for name in recipe.actions if name not in metrics["seen_in_clips"]),
        seen=", ".join(metrics["seen_in_clips"]),
        threshold=recipe.threshold,
        otherwise=_otherwise(recipe.background_threshold),
        sources=_source_table(metrics["sources"]),
        daily=_daily_table(metrics["daily"]),
        remarks="".join(f"- {line}\n" for line in recipe.remarks),
    )


def _otherwise(background_threshold: float) -> str:
    calm = f"`background` from a score of {background_threshold:g}, or " if background_threshold else ""
    return f"{calm}`uncertain`"


def _count_by_source(names: Sequence[str]) -> str:
    """Return "3 of ucf101-mini" for names that begin with their source; "none" without names."""
    counts = Counter(name.split()[0] for name in names)
    return ", ".join(f"{count} of {source}" for source, count in counts.items()) or "none"


def _source_table(sources: Mapping[str, Any]) -> str:
    rows = ["| source | frames | named | uncertain | background |", "|---|---|---|---|---|"]
    for name, row in sources.items():
        parts = " | ".join(f"{row[key]:.1%}" for key in ("named", "uncertain", "background"))
        rows.append(f"| {name} | {row['frames']} | {parts} |")
    return "\n".join(rows)


def _daily_table(daily: Mapping[str, Any]) -> str:
    rows = ["| clip | readings |", "|---|---|"]
    for name, labels in daily.items():
        rows.append(f"| {name} | {', '.join(f'{label} {count}' for label, count in labels.items())} |")
    return "\n".join(rows)

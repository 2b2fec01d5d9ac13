"""MPII Human Pose: pictures of activities, in categories (Andriluka et al. 2014).

Two published forms are read. mpii_human_pose_v1_u12_1.mat holds RELEASE, in which annolist(i).image.name
names picture i and act(i) says its act_name ("running, stairs, up") and cat_name ("running"), both empty
where they are withheld, as for the test pictures. The csv files made of it have the columns NAME (or
image), Activity and Category.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.runtime.errors import SourceError
from edgeharfer.training.context.matfile import as_list, as_text, get_member, load_mat
from edgeharfer.training.tables import read_table


@dataclass(frozen=True, slots=True)
class Activity:
    """What is done in a picture: the activity itself, and its category among about 20."""

    image: str
    activity: str
    category: str


def read_mpii(path: Path) -> list[Activity]:
    """All pictures whose activity is told, one entry a picture.

    Raises SourceError: unreadable, of another layout, or no activity at all.
    """
    rows = _from_csv(path) if path.suffix.lower() == ".csv" else _from_mat(path)
    # A csv has a row for each person; its picture counts once.
    by_image = {row.image: row for row in rows if row.category}
    if not by_image:
        raise SourceError(f"{path}: MPII annotations without an activity")
    return list(by_image.values())


def _from_mat(path: Path) -> Iterator[Activity]:
    found = load_mat(path, "RELEASE")
    try:
        release = found["RELEASE"]
        pictures, acts = as_list(get_member(release, "annolist")), as_list(get_member(release, "act"))
    except (KeyError, TypeError) as error:
        raise SourceError(f"{path}: not MPII's RELEASE with annolist and act: {error}") from error
    if len(pictures) != len(acts):
        raise SourceError(f"{path}: MPII's annolist has {len(pictures)} pictures, act {len(acts)}")
    for number, (picture, act) in enumerate(zip(pictures, acts, strict=True), 1):
        try:
            name = as_text(get_member(picture, "image", "name"))
            yield Activity(name, as_text(get_member(act, "act_name")), as_text(get_member(act, "cat_name")))
        except (KeyError, TypeError) as error:
            raise SourceError(f"{path}: RELEASE({number}): not MPII's layout: {error}") from error


def _from_csv(path: Path) -> Iterator[Activity]:
    for _, row in read_table(path, ("image|NAME", "Activity", "Category"), "MPII's csv"):
        yield Activity(row["image"], row["Activity"], row["Category"])

"""MPII Human Pose: images of activities in categories (Andriluka et al. 2014).

Two published forms are supported. mpii_human_pose_v1_u12_1.mat holds RELEASE, where annolist(i).image.name is
the name of image i and act(i) has its act_name ("running, stairs, up") and cat_name ("running"), both empty
where they are withheld, as for the test images. CSV files derived from it have the columns NAME (or image),
Activity and Category.
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
    """Activity in an image.

    Attributes:
        image: File name.
        activity: The activity, such as "running, stairs, up".
        category: Its category, one of about 20.
    """

    image: str
    activity: str
    category: str


def read_mpii(path: Path) -> list[Activity]:
    """Read all images with a known activity, one entry per image.

    Raises:
        SourceError: The file is unreadable, has another layout, or contains no activity.
    """
    rows = _from_csv(path) if path.suffix.lower() == ".csv" else _from_mat(path)
    # A CSV has one row per person; each image counts once.
    by_image = {row.image: row for row in rows if row.category}
    if not by_image:
        raise SourceError(f"{path}: contains no annotated activity")
    return list(by_image.values())


def _from_mat(path: Path) -> Iterator[Activity]:
    found = load_mat(path, "RELEASE")
    try:
        release = found["RELEASE"]
        pictures, acts = as_list(get_member(release, "annolist")), as_list(get_member(release, "act"))
    except (KeyError, TypeError) as error:
        raise SourceError(f"{path}: not MPII's RELEASE with annolist and act: {error}") from error
    if len(pictures) != len(acts):
        raise SourceError(f"{path}: annolist has {len(pictures)} images, but act has {len(acts)}")
    for number, (picture, act) in enumerate(zip(pictures, acts, strict=True), 1):
        try:
            name = as_text(get_member(picture, "image", "name"))
            yield Activity(name, as_text(get_member(act, "act_name")), as_text(get_member(act, "cat_name")))
        except (KeyError, TypeError) as error:
            raise SourceError(f"{path}: RELEASE({number}): unexpected layout for MPII: {error}") from error


def _from_csv(path: Path) -> Iterator[Activity]:
    for _, row in read_table(path, ("image|NAME", "Activity", "Category"), "MPII's csv"):
        yield Activity(row["image"], row["Activity"], row["Category"])

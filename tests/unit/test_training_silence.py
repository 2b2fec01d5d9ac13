"""Leave one source out: what would be reported on background that a head was never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from edgeharfer.runtime.types import UNCERTAIN
from edgeharfer.training.action.card import silence_rows
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.crossval import ClipSet
from edgeharfer.training.action.find import BackgroundSource
from edgeharfer.training.action.silence import (
    TOTAL,
    Thresholds,
    UnknownSource,
    add_up,
    count_labels,
    live_labels,
    raise_threshold,
)

LABELS = ("Wave", "background")


def rows(*waves: float) -> np.ndarray:
    return np.array([[wave, 1 - wave] for wave in waves], np.float32)


def test_labels_are_decided_as_in_a_run() -> None:
    """Averaged over time, so a single window does not name an action; the threshold holds for background."""
    times = np.arange(8) / 8
    assert live_labels(rows(0, 0, 0, 1, 0, 0, 0, 0), times, LABELS, Thresholds(0.7)) == ["background"] * 8
    assert live_labels(rows(*[0.4] * 4), times[:4], LABELS, Thresholds(0.7)) == [UNCERTAIN] * 4
    assert live_labels(rows(*[0.9] * 4), times[:4], LABELS, Thresholds(0.7)) == ["Wave"] * 4
    low = Thresholds(0.7, 0.3)
    assert live_labels(rows(*[0.6] * 4, *[0.9] * 4), times, LABELS, low)[::7] == ["background", "Wave"]


def test_shares_are_counted_by_source_and_added_up() -> None:
    quiet = count_labels("garden", [["background"] * 3, ["background"]], "background")
    loud = count_labels("cellar", [["Wave", UNCERTAIN], ["background", "background"]], "background")
    assert quiet.row()["background"] == 1.0
    assert quiet.row()["most_named"] is None
    assert (loud.row()["named"], loud.row()["uncertain"], loud.row()["background"]) == (0.25, 0.25, 0.5)
    assert (loud.row()["named_clips"], loud.row()["clips"], loud.row()["most_named"]) == (1, 2, "Wave")
    both = add_up([quiet, loud]).row()
    assert (both["source"], both["clips"], both["windows"], both["named"]) == (TOTAL, 4, 8, 0.125)


def test_the_table_of_the_card_has_a_row_for_each_source() -> None:
    loud = count_labels("cellar", [["Wave", UNCERTAIN], ["background", "background"]], "background")
    assert silence_rows([loud.row()]) == ["| cellar | 2 | 4 | 25.0% | 25.0% | 50.0% | 1 | Wave |"]


def test_another_class_can_be_the_background() -> None:
    assert count_labels("street", [["calm", "fight"]], "calm").row()["most_named"] == "fight"


def test_the_threshold_rises_until_few_windows_are_named() -> None:
    times = np.arange(4) / 8
    cellar = UnknownSource("cellar", [rows(*[0.8] * 4), rows(*[0.0] * 4)], [times, times])
    assert raise_threshold([cellar], LABELS, Thresholds(0.6), "background", 0.5).action == 0.6
    assert raise_threshold([cellar], LABELS, Thresholds(0.6), "background", 0.1).action == pytest.approx(0.82)
    assert raise_threshold([], LABELS, Thresholds(0.6, 0.1), "background", 0.1) == Thresholds(0.6, 0.1)


def test_photographs_are_background_and_in_no_figure(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(b"")
    assert [file.name for file in BackgroundSource("faces", tmp_path).clips("background")] == [
        "background/faces/face.jpg"
    ]
    track = ClipFeatures(np.arange(2), np.zeros((2, 3), np.float32))

    def clip(source: str, frames: int) -> EncodedClip:
        name, times = f"background/{source}/1", np.arange(frames, dtype=np.float64)
        return EncodedClip(name, "background", source, source, times, track, (), np.zeros(4, np.float32))

    clips = [clip("hall", 2), clip("faces", 1)]
    clip_set = ClipSet(clips, LABELS, np.ones(2, np.int64), ["1", "2"], np.zeros(2, np.int64))
    assert clip_set.scored.tolist() == [True, False]
    assert clip_set.background_sources == ["hall"]


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("street=clips/cctv", "street", "clips/cctv"),
        ("clips/cctv", "cctv", "clips/cctv"),
        ("clips/day=1/cctv", "cctv", "clips/day=1/cctv"),
    ],
)
def test_a_source_may_be_given_a_name(text: str, name: str, path: str) -> None:
    source = BackgroundSource.parse(text)
    assert (source.name, source.path) == (name, Path(path))


def test_clips_of_named_sources_have_unique_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01.mp4").write_bytes(b"")
    (tmp_path / "single.mp4").write_bytes(b"")
    found = [
        file
        for text in (f"home={tmp_path}", f"alone={tmp_path / 'single.mp4'}")
        for file in BackgroundSource.parse(text).clips("background")
    ]
    assert [(file.name, file.source) for file in found] == [
        ("background/home/one/01.mp4", "home"),
        ("background/home/single.mp4", "home"),
        ("background/home/two/01.mp4", "home"),
        ("background/alone/single.mp4", "alone"),
    ]

"""FER+ votes: the published layout, majority and distribution, on hand-made rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime import SourceError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def votes(**counts: float) -> np.ndarray:
    row = np.zeros(10, np.float32)
    names = [*ferplus.LABELS, "unknown", "nf"]
    for name, count in counts.items():
        row[names.index(name)] = count
    return row


def test_the_table_is_read_by_picture_in_our_order(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(
        HEADER + "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,,0,0,0,0,0,0,0,0,0,10\n"
    )
    table = ferplus.read_votes(path)
    assert list(table) == ["fer0000000.png"]
    np.testing.assert_array_equal(table["fer0000000.png"], votes(neutral=4, sad=1, angry=3, disgust=2))


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (votes(happy=10), "happy"),
        (votes(happy=5, neutral=4, sad=1), "happy"),  # 5 of 9 without the single vote
        (votes(happy=5, neutral=5), None),  # half is no majority
        (votes(happy=4, neutral=3, sad=3), None),
        (votes(unknown=6, happy=4), None),
        (votes(nf=10), None),
        (votes(contempt=6, neutral=4), "contempt"),
        (votes(happy=1, sad=1, fear=1), None),  # single votes only
    ],
)
def test_majority(row: np.ndarray, label: str | None) -> None:
    found = ferplus.majority(row)
    assert (None if found is None else ferplus.LABELS[found]) == label


def test_the_distribution_leaves_single_votes_and_doubt_out() -> None:
    shares = ferplus.distribution(votes(happy=6, neutral=2, sad=1, unknown=1))
    expected = np.zeros(8)
    expected[ferplus.LABELS.index("happy")], expected[ferplus.LABELS.index("neutral")] = 0.75, 0.25
    np.testing.assert_allclose(shares, expected)
    assert not ferplus.distribution(votes(unknown=5, happy=4)).any()
    assert not ferplus.distribution(votes(happy=1)).any()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", HEADER, HEADER + "Training,a.png,x,0,0,0,0,0,0,0,0,0\n"])
def test_another_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"votes\.csv"):
        ferplus.read_votes(path)


def test_votes_of_other_pictures_are_refused() -> None:
    right = [(ferplus.LABELS.index("happy"), "happy")] * 70 + [(ferplus.LABELS.index("sad"), "angry")] * 30
    assert ferplus.check_agreement(right) == pytest.approx(0.7)
    assert ferplus.check_agreement(right[:50]) is None
    with pytest.raises(SourceError, match="agree with only 30%"):
        ferplus.check_agreement(
            [(ferplus.LABELS.index("happy"), "happy")] * 30 + [(ferplus.LABELS.index("sad"), "angry")] * 70
        )

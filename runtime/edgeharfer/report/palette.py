"""Colours and hatches of the labels, told apart by any eye and in grey print.

The colours come from a search that pushed the smallest difference of any two as high as it would go,
with hues near those of the live overlay: at least 14 in CIEDE2000 for normal sight and for simulated
protanopia, deuteranopia and tritanopia (Machado et al. 2009), and 5.9 steps of lightness (CIE L*).
Hatches say it once more, for poor printers; they are diagonals and dots, since PDF viewers show the
seams of upright ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeharfer.runtime.types import UNCERTAIN


@dataclass(frozen=True)
class AreaStyle:
    """Fill and hatch of a label's areas; line: of its edges and hatch."""

    fill: str
    hatch: str = ""
    line: str = "#FFFFFF"


LABEL_STYLES: Mapping[str, AreaStyle] = {
    "angry": AreaStyle("#C33753", "////"),
    "disgust": AreaStyle("#9B9616", "...."),
    "fear": AreaStyle("#A8698B", "xxx"),
    "happy": AreaStyle("#F6CF27"),
    "sad": AreaStyle("#3054A6", "oo"),
    "surprise": AreaStyle("#42B78C", "\\\\\\"),
    "neutral": AreaStyle("#9FB7CA", ".."),
    "contempt": AreaStyle("#534918", "++"),
    UNCERTAIN: AreaStyle("#F0F0F0", "///", "#9AA3AE"),
}

INK, MUTED, RULE, FAINT = "#1F2A37", "#5B6674", "#C9D0D9", "#EEF1F5"
ACCENT = "#24476B"


def label_styles(labels: Sequence[str]) -> dict[str, AreaStyle]:
    """A style for each label and for "uncertain"; unknown labels take those that are left, in order."""
    unused = [style for label, style in LABEL_STYLES.items() if label not in labels and label != UNCERTAIN]
    spare = [*unused, *(style for label, style in LABEL_STYLES.items() if label != UNCERTAIN)]
    unknown = [label for label in labels if label not in LABEL_STYLES]
    others = {label: spare[place % len(spare)] for place, label in enumerate(unknown)}
    return {label: LABEL_STYLES.get(label) or others[label] for label in (*labels, UNCERTAIN)}

"""Colours and hatches of the labels, distinguishable with colour blindness and in greyscale print.

The colours result from a search that maximised the smallest difference between any two, with hues close to
those of the live overlay: at least 14 in CIEDE2000 for normal vision and for simulated protanopia,
deuteranopia and tritanopia (Machado et al. 2009), and 5.9 in lightness (CIE L*). Hatches help on poor
printers; they are diagonals and dots because PDF viewers show seams in horizontal and vertical ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeharfer.runtime.types import UNCERTAIN


@dataclass(frozen=True)
class AreaStyle:
    """Style of the areas of a label.

    Attributes:
        fill: Fill colour, "#RRGGBB".
        hatch: Hatch pattern of matplotlib.
        line: Colour of edges and hatch, "#RRGGBB".
    """

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
    """A style for each label and for "uncertain"; unknown labels get the unused styles in order."""
    unused = [style for label, style in LABEL_STYLES.items() if label not in labels and label != UNCERTAIN]
    spare = [*unused, *(style for label, style in LABEL_STYLES.items() if label != UNCERTAIN)]
    unknown = [label for label in labels if label not in LABEL_STYLES]
    others = {label: spare[place % len(spare)] for place, label in enumerate(unknown)}
    return {label: LABEL_STYLES.get(label) or others[label] for label in (*labels, UNCERTAIN)}

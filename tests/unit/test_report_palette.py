"""The palette passes for colour-blind eyes and in grey print.

Dichromatic sight is simulated after Machado, Oliveira and Fernandes, "A physiologically-based model for
simulation of color vision deficiency" (2009), severity 1.0, on linear RGB; differences are CIEDE2000
(Sharma, Wu and Dalal 2005).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.report.charts.timeline import action_style
from edgeharfer.report.palette import LABEL_STYLES, label_styles
from edgeharfer.runtime.types import UNCERTAIN

Vector = NDArray[np.float64]

MIN_DIFFERENCE = 14.0
"""CIEDE2000; 2.3 can just be seen, 10 is seen at a glance."""
MIN_LIGHTNESS_STEP = 5.5
SIGHTS = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip


def linear(colour: str) -> Vector:
    """sRGB as #RRGGBB to linear light."""
    coded = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def to_lab(light: Vector) -> Vector:
    """Linear RGB to CIELAB, white D65."""
    ratio = TO_XYZ @ np.clip(light, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one: Vector, other: Vector) -> float:
    """Difference of two colours in CIELAB."""
    mean_chroma = (np.hypot(*one[1:]) + np.hypot(*other[1:])) / 2
    g = 0.5 * (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7)))
    a = np.array([one[1], other[1]]) * (1 + g)
    b = np.array([one[2], other[2]])
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    turn = (hue[1] - hue[0] + 180) % 360 - 180 if chroma.prod() else 0.0
    d_light, d_chroma = other[0] - one[0], chroma[1] - chroma[0]
    d_hue = 2 * np.sqrt(chroma.prod()) * np.sin(np.radians(turn / 2))
    light, c, h = (one[0] + other[0]) / 2, chroma.mean(), hue[0] + turn / 2
    t = (
        1 - 0.17 * np.cos(np.radians(h - 30)) + 0.24 * np.cos(np.radians(2 * h))
        + 0.32 * np.cos(np.radians(3 * h + 6)) - 0.20 * np.cos(np.radians(4 * h - 63))
    )  # fmt: skip
    s_light = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    s_chroma, s_hue = 1 + 0.045 * c, 1 + 0.015 * c * t
    turned = np.radians(60 * np.exp(-((((h % 360) - 275) / 25) ** 2)))
    r = -2 * np.sqrt(c**7 / (c**7 + 25**7)) * np.sin(turned)
    parts = d_light / s_light, d_chroma / s_chroma, d_hue / s_hue
    return float(np.sqrt(sum(part**2 for part in parts) + r * parts[1] * parts[2]))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_measure_is_right_on_published_pairs(
    one: tuple[float, ...], other: tuple[float, ...], expected: float
) -> None:
    """From the test data of Sharma, Wu and Dalal, table 1."""
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sight", SIGHTS)
def test_every_two_labels_differ_at_a_glance(sight: str) -> None:
    seen = {
        label: to_lab(np.array(SIGHTS[sight]) @ linear(paint.fill)) for label, paint in LABEL_STYLES.items()
    }
    close = {
        (one, other): round(ciede2000(seen[one], seen[other]), 1)
        for one, other in combinations(seen, 2)
        if ciede2000(seen[one], seen[other]) < MIN_DIFFERENCE
    }
    assert close == {}


def test_the_simulation_does_confuse_red_and_green() -> None:
    """Else the test above would pass whatever the palette is."""
    sight = np.array(SIGHTS["deuteranopia"])
    red, green = (to_lab(sight @ linear(colour)) for colour in ("#B4503C", "#6E7A3C"))
    assert ciede2000(to_lab(linear("#B4503C")), to_lab(linear("#6E7A3C"))) > 35
    assert ciede2000(red, green) < MIN_DIFFERENCE


def test_every_two_labels_differ_in_grey_print() -> None:
    lightness = sorted(float(to_lab(linear(paint.fill))[0]) for paint in LABEL_STYLES.values())
    assert np.diff(lightness).min() >= MIN_LIGHTNESS_STEP


def test_hatches_are_not_used_twice() -> None:
    hatches = [(paint.hatch, paint.line) for paint in LABEL_STYLES.values()]
    assert len(set(hatches)) == len(hatches)


def test_kinds_of_actions_differ_in_grey_print() -> None:
    kinds = [action_style("Biking"), action_style("background"), action_style(UNCERTAIN)]
    lightness = sorted(float(to_lab(linear(paint.fill))[0]) for paint in kinds)
    assert np.diff(lightness).min() >= MIN_LIGHTNESS_STEP
    assert len({paint.hatch for paint in kinds}) == 2


def test_labels_of_another_package_get_paints_of_their_own() -> None:
    found = label_styles(("happy", "bored", "amused"))
    assert found["happy"] == LABEL_STYLES["happy"]
    assert found[UNCERTAIN] == LABEL_STYLES[UNCERTAIN]
    assert len(set(found.values())) == 4


def test_more_labels_than_paints_still_get_one() -> None:
    labels = tuple(f"label{number}" for number in range(40))
    assert set(label_styles(labels)) == {*labels, UNCERTAIN}

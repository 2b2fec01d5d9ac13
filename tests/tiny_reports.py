"""Recordings written as text, so that a test can count by hand what a report must say.

`recording({1: "hhn", 2: " ss"})` is a film of three samples, four a second: the first person looks happy
twice, then neutral, the second comes into view at the second sample. "?" is a face that looks like nothing
in particular.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeharfer.report.analyzer import AnalysisMethod, ModelFacts
from edgeharfer.report.record import ActionReading, FaceSample, Observations, SampledFace
from edgeharfer.report.report import Report, SourceFacts, make_report
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.types import UNCERTAIN, Box

LABELS = ("angry", "happy", "sad", "neutral")
SURE, REST = 0.85, 0.05
FPS, FRAMES_A_SAMPLE = 4.0, 5
ACTION_STEP_S = 0.25
ACTIONS = {"B": "Biking", "A": "Archery", "-": "background", "?": UNCERTAIN}


def probabilities(letter: str, labels: tuple[str, ...] = LABELS) -> tuple[float, ...]:
    """By a label's first letter; "?" is all alike."""
    if letter == "?":
        return tuple(1 / len(labels) for _ in labels)
    return tuple(SURE if label[0] == letter else REST for label in labels)


def recording(
    tracks: Mapping[int, str],
    actions: str = "",
    *,
    pictures: tuple[str, ...] = (),
    labels: tuple[str, ...] = LABELS,
) -> Observations:
    """What was seen. actions: a letter a reading, " " for none. pictures: names, for photographs."""
    count = max((len(text) for text in tracks.values()), default=0)
    samples = []
    for place in range(count):
        faces = tuple(
            SampledFace(track, Box(100.0 * track, 50.0, 80.0, 80.0), 0.9, probabilities(text[place], labels))
            for track, text in tracks.items()
            if place < len(text) and text[place] != " "
        )
        name = pictures[place] if pictures else ""
        samples.append(FaceSample(place / FPS, place * FRAMES_A_SAMPLE, name, faces))
    readings = tuple(
        ActionReading(place * ACTION_STEP_S, ACTIONS[letter], 0.8)
        for place, letter in enumerate(actions)
        if letter != " "
    )
    duration_s = 0.0 if pictures else count / FPS
    frames = count if pictures else count * FRAMES_A_SAMPLE
    return Observations(tuple(samples), readings, duration_s, frames, bool(pictures))


def method(labels: tuple[str, ...] = LABELS) -> AnalysisMethod:
    """What a report says of how it was made."""
    emotion = ModelFacts("tiny-emotion", "fp32", labels, 0.4, {"model.onnx": "0badcafe" * 8})
    action = ModelFacts("tiny-action", "fp32", tuple(ACTIONS.values()), 0.5, {"head.onnx": "0badcafe" * 8})
    models = {**({"emotion": emotion} if labels else {}), "action": action}
    providers = {"faces": "CPUExecutionProvider"}
    return AnalysisMethod(FPS, "blazeface", "package", models, WindowSpec(8, 2.0, 0.5), providers)


def report(
    tracks: Mapping[int, str],
    actions: str = "",
    *,
    pictures: tuple[str, ...] = (),
    name: str = "clip.mp4",
    smoothing: Smoothing | None = None,
    labels: tuple[str, ...] = LABELS,
) -> Report:
    """A whole report; nothing is smoothed unless asked for."""
    source = SourceFacts(name, "H264 640x480 at 20 fps", (640, 480), None if pictures else 20.0)
    seen = recording(tracks, actions, pictures=pictures, labels=labels)
    return make_report(source, method(labels), smoothing or Smoothing("none"), seen)

"""The sentences of a report: findings, method and limits."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from edgeharfer.report.analyzer import ModelFacts
from edgeharfer.report.content.blocks import Block, Paragraph
from edgeharfer.report.report import Report
from edgeharfer.report.segments import seconds_by_label
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.statistics import MAX_SHOWN, MIN_SEEN_S, PersonStatistics, Statistics
from edgeharfer.report.words import counted, label_name, percent, person_name, seconds
from edgeharfer.runtime.faces.detectors import detector_title
from edgeharfer.runtime.faces.tracks import MAX_UNSEEN_S
from edgeharfer.runtime.schedule import TRACKING_FPS
from edgeharfer.runtime.tasks.intensity import CLEAR, STRONG, intensity_word
from edgeharfer.runtime.tasks.smoothing import FACE_HYSTERESIS
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

_MAX_FINDINGS = 4
MAX_ROWS = 400
"""Maximum number of lines in a table; the CSV files hold all."""


def findings(report: Report) -> list[str]:
    """The main results in a few sentences."""
    sentences = [_presence(report)]
    longest = sorted(report.shown, key=lambda person: -len(person.rows))[:_MAX_FINDINGS]
    sentences += [line for person in longest if (line := _person_sentence(report, person))]
    if not longest and (line := _group_sentence(report)):
        sentences.append(line)
    if report.method.action and report.only is None and not report.stills:
        sentences.append(action_summary(report))
    return sentences


def _presence(report: Report) -> str:
    samples = len(report.recording.samples)
    if not report.rows:
        return f"No face was seen in {counted(samples, 'picture' if report.stills else 'sample')}."
    share = percent(report.group.coverage)
    if report.stills:
        return (
            f"{counted(len(report.rows), 'face')} in {counted(samples, 'picture')}; {share} show one or more."
        )
    if report.only is not None:
        return f"{person_name(report.only)} was in view in {share} of the samples."
    return f"A face was in view in {share} of the samples; {_tracked(report)}"


def _tracked(report: Report) -> str:
    brief = len(report.persons) - len(report.shown)
    text = f"{counted(len(report.shown), 'face was', 'faces were')} tracked"
    return f"{text}, and {counted(brief, 'more face', 'more faces')} only briefly." if brief else f"{text}."


def _person_sentence(report: Report, person: PersonStatistics) -> str:
    name = person_name(person.track)
    shares = person.measures.shares
    named = [(label, share) for label, share in shares.items() if share > 0 and label != UNCERTAIN]
    named.sort(key=lambda item: -item[1])
    if not shares:
        return ""
    if report.stills:
        label, share = max(person.measures.mean_raw.items(), key=lambda item: item[1])
        return f"{name} looks most like {label_name(label).lower()} ({percent(share)})."
    seen = seconds(len(person.rows) * report.recording.step_s)
    if not named:
        return f"{name}, in view for {seen}, has no label above the probability threshold."
    listed = ", then ".join(f"{label_name(label).lower()} ({percent(share)})" for label, share in named[:2])
    return f"{name}, in view for {seen}, looked mostly {listed}."


def _group_sentence(report: Report) -> str:
    leader = report.group.leader
    if leader is None:
        return ""
    return f"The most frequent label of all faces is {label_name(leader[0]).lower()} ({percent(leader[1])})."


def action_summary(report: Report) -> str:
    """A sentence on the actions that lasted longest."""
    window = report.method.window
    if not report.segments:
        return f"No action was recognised: this needs {window.seconds:g} s without a gap." if window else ""
    named = named_actions(report)
    if not named:
        return "None of the model's actions was recognised."
    listed = ", ".join(f"{label_name(label)} ({seconds(time)})" for label, time in list(named.items())[:3])
    return f"Actions recognised longest: {listed}."


def named_actions(report: Report) -> dict[str, float]:
    """Seconds of each action except "uncertain" and "background", longest first."""
    times = seconds_by_label(report.segments)
    return {label: time for label, time in times.items() if label not in (UNCERTAIN, BACKGROUND)}


def method(report: Report) -> list[str]:
    """Paragraphs of markup on the method."""
    texts = [_sampling(report), _tracking(report)]
    if report.method.emotion:
        texts += [_emotions(report.method.emotion, report.method.prior), _smoothing(report)]
        texts.append(
            "A <b>share</b> is the fraction of all faces in all samples that have this label. "
            "<b>Coverage</b> is the fraction of the samples in which a face was in view. <b>Confidence</b> "
            f"is the mean probability of the best class after smoothing. {_strength(report)}A "
            "<b>transition</b> is a change from one named label to another in one track; “not sure” in "
            "between is skipped. All figures can be computed from frames.csv, which has the probabilities "
            "before and after smoothing and the labels."
        )
    if report.method.action and report.only is None:
        texts.append(_actions(report))
    return texts


def _sampling(report: Report) -> str:
    if report.stills:
        return "<b>Pictures.</b> Every picture was searched once for large and small faces."
    recording = report.recording
    return (
        f"<b>Sampling.</b> Faces were analysed in {report.method.fps:g} frames per second, "
        f"{len(recording.samples)} of {counted(recording.frames, 'frame')}; a sample represents "
        f"{recording.step_s:.3f} s."
    )


def _tracking(report: Report) -> str:
    text = f"<b>Faces</b> were detected with {detector_title(report.method.detector)}"
    if report.stills:
        return f"{text}. Faces are not tracked from one picture to the next."
    rate = max(report.method.fps, TRACKING_FPS)
    return (
        f"{text}, {rate:g} times per second. “Person” means a face that stays in view: after more than "
        f"{MAX_UNSEEN_S:g} s out of view it gets a new number. Nobody is identified, and no facial features "
        f"are stored. Persons in view for at least {MIN_SEEN_S:g} s have a section each, at most "
        f"{MAX_SHOWN}; the others are included in the overall figures.{_cuts(report)}"
    )


def _cuts(report: Report) -> str:
    found = len(report.recording.cuts_s)
    if not found:
        return ""
    return (
        f" {counted(found, 'cut was', 'cuts were')} found in the video: after a cut, every face gets a new "
        "number, and the action window starts again."
    )


def _emotions(model: ModelFacts, prior: str) -> str:
    text = (
        f"<b>Emotions</b> come from the model {escape(model.name)} ({model.precision}), which distinguishes "
        f"{len(model.labels)} emotions; class prior: {prior}. Below a probability of "
        f"{model.threshold:g} the label is “not sure” (“uncertain” in the files)."
    )
    return text + _measured(model.accuracy, f"top1_{prior}_prior", "faces")


def _measured(accuracy: Mapping[str, object], key: str, things: str) -> str:
    value = accuracy.get(key, accuracy.get("top1"))
    if not isinstance(value, int | float):
        return ""
    count = accuracy.get("n", accuracy.get("clips", ""))
    return f" In its own test it labelled {percent(float(value))} of {count} {things} correctly."


def _smoothing(report: Report) -> str:
    if report.stills:
        return "<b>Smoothing.</b> None: pictures are independent of each other."
    return f"<b>Smoothing over time.</b> {smoothing_words(report.smoothing)} {_hysteresis(report.smoothing)}"


def smoothing_words(smoothing: Smoothing) -> str:
    """A sentence on how probabilities were averaged."""
    if not smoothing.active:
        return "None: each sample is labelled from its own probabilities."
    if smoothing.method == "exponential":
        return (
            "Exponential average of each track's probabilities, weighted by their certainty, time constant "
            f"{smoothing.seconds:g} s."
        )
    return (
        f"Mean of each track's probabilities over {smoothing.seconds:g} s, half before and half after each "
        "sample."
    )


def _hysteresis(smoothing: Smoothing) -> str:
    if not smoothing.active:
        return ""
    return f"A label changes only to one that is more probable by at least {FACE_HYSTERESIS:g}."


def _actions(report: Report) -> str:
    model, window = report.method.action, report.method.window
    if report.stills or model is None or window is None:
        return "<b>Actions</b> were not analysed: they need a video."
    return (
        f"<b>Actions</b> come from the model {escape(model.name)} ({model.precision}), which reads "
        f"{window.frames} frames over {window.seconds:g} s at its own rate. A label describes the preceding "
        f"{window.seconds:g} s, so a segment begins and ends up to this time later than the action. Below a "
        f"probability of {model.threshold:g} the label is “not sure” (“uncertain” in the files); “no action” "
        "(“background” in the files) means that the model sees none of its actions. Actions belong to the "
        "scene, not to one person." + _measured(model.accuracy, "top1", "clips")
    )


def _strength(report: Report) -> str:
    if report.group.strength is None:
        return ""
    return (
        "<b>Strength</b> is one minus the smoothed probability of neutral, an estimate of the share of "
        f"people who would not call the face neutral: faint below {percent(CLEAR)}, strong from "
        f"{percent(STRONG)} on. "
    )


def strength_words(measures: Statistics) -> str:
    """The mean strength as a number and a word: "54.2 % (clear)"."""
    assert measures.strength is not None
    return f"{percent(measures.strength)} ({intensity_word(measures.strength)})"


def strength_tile(measures: Statistics) -> list[tuple[str, str]]:
    """The mean strength as a key figure, if it is known."""
    if measures.strength is None:
        return []
    return [
        (percent(measures.strength), f"mean strength of the emotions, {intensity_word(measures.strength)}")
    ]


def cut_off(count: int, file: str) -> list[Block]:
    """A remark that a table does not hold all of its `count` lines, if so."""
    if count <= MAX_ROWS:
        return []
    return [Paragraph(f"The first {MAX_ROWS} of {count}; all are in {file}.", small=True)]


def limits(report: Report) -> list[str]:
    """Paragraphs on the limits of the method."""
    texts = [
        "The labels describe how a face looks to a model, not what a person feels. People hide, act and "
        "express feelings differently, across cultures and conditions.",
        "A probability is an output of the model and not the chance that the label is correct. Light, angle, "
        "glasses, masks and small or partly hidden faces reduce accuracy; some emotions are recognised much "
        "less reliably than others.",
        "The training data of the models does not represent all ages, skin tones and scenes equally; see "
        "their model cards.",
    ]
    if not report.stills:
        texts.append(
            "Two people who cross may swap their numbers, and one person may have several; statements on a "
            "“person” apply to a section of the video."
        )
    texts.append(
        "Do not use this report for decisions about people. Some laws forbid inferring emotions, in the "
        "European Union at work and in education (Regulation (EU) 2024/1689, Article 5). Ask the people "
        "shown for consent before you use it."
    )
    return texts


def privacy(thumbnails: bool) -> str:
    """A sentence on whether the report holds pictures."""
    if thumbnails:
        return "This report contains pictures of the input, as requested. Nothing left the machine."
    return "No picture of the input was stored, and nothing left the machine."

"""What the report says in sentences: findings, method and limits."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from edgeharfer.report.analyzer import ModelFacts
from edgeharfer.report.report import Report
from edgeharfer.report.segments import seconds_by_label
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.statistics import MAX_SHOWN, MIN_SEEN_S, PersonStatistics
from edgeharfer.report.words import counted, label_name, percent, person_name, seconds
from edgeharfer.runtime.faces.detectors import detector_title
from edgeharfer.runtime.faces.tracks import MAX_UNSEEN_S
from edgeharfer.runtime.schedule import TRACKING_FPS
from edgeharfer.runtime.tasks.smoothing import HYSTERESIS
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

_MAX_FINDINGS = 4


def findings(report: Report) -> list[str]:
    """The report in a few sentences, each true of the figures on its pages."""
    told = [_presence(report)]
    longest = sorted(report.shown, key=lambda person: -len(person.rows))[:_MAX_FINDINGS]
    told += [line for person in longest if (line := _looks(report, person))]
    if not longest and (line := _all_look(report)):
        told.append(line)
    if report.method.action and report.only is None and not report.stills:
        told.append(doings(report))
    return told


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
    text = f"{counted(len(report.shown), 'face was', 'faces were')} followed"
    return f"{text}, and {counted(brief, 'more face', 'more faces')} only briefly." if brief else f"{text}."


def _looks(report: Report, person: PersonStatistics) -> str:
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
        return f"{name}, seen for {seen}, got no label that was certain enough."
    listed = ", then ".join(f"{label_name(label).lower()} ({percent(share)})" for label, share in named[:2])
    return f"{name}, seen for {seen}, looked mostly {listed}."


def _all_look(report: Report) -> str:
    leader = report.group.leader
    if leader is None:
        return ""
    return f"The most frequent label of all faces is {label_name(leader[0]).lower()} ({percent(leader[1])})."


def doings(report: Report) -> str:
    """Which actions went on longest."""
    window = report.method.window
    if not report.segments:
        return f"No action could be read: it takes {window.seconds:g} s without a gap." if window else ""
    named = named_actions(report)
    if not named:
        return "None of the actions that the model knows was recognised."
    listed = ", ".join(f"{label_name(label)} ({seconds(time)})" for label, time in list(named.items())[:3])
    return f"Actions recognised longest: {listed}."


def named_actions(report: Report) -> dict[str, float]:
    """Seconds of each real action, longest first."""
    times = seconds_by_label(report.segments)
    return {label: time for label, time in times.items() if label not in (UNCERTAIN, BACKGROUND)}


def method(report: Report) -> list[str]:
    """How it was done, in sentences with ReportLab's inline tags."""
    texts = [_sampling(report), _tracking(report)]
    if report.method.emotion:
        texts += [_emotions(report.method.emotion, report.method.prior), _smoothing(report)]
        texts.append(
            "<b>Shares</b> are counts: of all faces in all samples, the part with that label. "
            "<b>Coverage</b> is the part of the samples in which a face was seen. <b>Confidence</b> is the "
            "mean probability of the best class after smoothing. A <b>transition</b> is a change from one "
            "named label to another in one track; “not sure” in between is passed over. All of it can be "
            "computed again from frames.csv, which holds the raw probabilities and the labels."
        )
    if report.method.action and report.only is None:
        texts.append(_actions(report))
    return texts


def _sampling(report: Report) -> str:
    if report.stills:
        return "<b>Pictures.</b> Every picture was searched once, for large and for small faces."
    recording = report.recording
    return (
        f"<b>Sampling.</b> The faces of {report.method.fps:g} frames a second were read, "
        f"{len(recording.samples)} of {counted(recording.frames, 'frame')}; a sample stands for "
        f"{recording.step_s:.3f} s."
    )


def _tracking(report: Report) -> str:
    text = f"<b>Faces</b> were found with {detector_title(report.method.detector)}"
    if report.stills:
        return f"{text}. Nobody is followed from one picture to the next."
    often = max(report.method.fps, TRACKING_FPS)
    return (
        f"{text}, {often:g} times a second. “Person” means a face that stays in view: out of view for more "
        f"than {MAX_UNSEEN_S:g} s it comes back under a new number. No one is recognised, and no feature of "
        f"a face is kept. Those seen for at least {MIN_SEEN_S:g} s have pages of their own, {MAX_SHOWN} at "
        f"most; the others count in the figures of everybody.{_cuts(report)}"
    )


def _cuts(report: Report) -> str:
    found = len(report.recording.cuts_s)
    if not found:
        return ""
    return (
        f" {counted(found, 'cut was', 'cuts were')} found in the film: there every face gets a new number, "
        "and the window of actions starts again."
    )


def _emotions(model: ModelFacts, prior: str) -> str:
    text = (
        f"<b>Emotions</b> come from the model {escape(model.name)} ({model.precision}), which tells "
        f"{len(model.labels)} apart; class shares assumed: {prior}. Below a probability of "
        f"{model.threshold:g} it is not sure, and the label in the files is “uncertain”."
    )
    return text + _measured(model.accuracy, f"top1_{prior}_prior", "faces")


def _measured(accuracy: Mapping[str, object], key: str, things: str) -> str:
    value = accuracy.get(key, accuracy.get("top1"))
    if not isinstance(value, int | float):
        return ""
    count = accuracy.get("n", accuracy.get("clips", ""))
    return f" In its own test it named {percent(float(value))} of {count} {things} rightly."


def _smoothing(report: Report) -> str:
    if report.stills:
        return "<b>Smoothing.</b> None: pictures have no course over time."
    return f"<b>Smoothing over time.</b> {smoothing_words(report.smoothing)} {_hysteresis(report.smoothing)}"


def smoothing_words(smoothing: Smoothing) -> str:
    """How probabilities were averaged, in a sentence."""
    if not smoothing.active:
        return "None: each sample has the label of its own probabilities."
    if smoothing.method == "exponential":
        return f"Exponential average of each track's probabilities, time constant {smoothing.seconds:g} s."
    return (
        f"Mean of each track's probabilities over {smoothing.seconds:g} s, half before and half after each "
        "moment."
    )


def _hysteresis(smoothing: Smoothing) -> str:
    if not smoothing.active:
        return ""
    return f"A label gives way only to one that is more probable by {HYSTERESIS:g}."


def _actions(report: Report) -> str:
    model, window = report.method.action, report.method.window
    if report.stills or model is None or window is None:
        return "<b>Actions</b> were not read: they need a film."
    return (
        f"<b>Actions</b> come from the model {escape(model.name)} ({model.precision}), which looks at "
        f"{window.frames} frames over {window.seconds:g} s at its own rate. A label tells of the "
        f"{window.seconds:g} s before it, so a segment begins and ends later than what it names by up to "
        f"that time. Below a probability of {model.threshold:g} it is not sure (“uncertain” in the files); "
        "“no action” (“background” in the files) means that the model sees none of its actions. They are "
        "the scene's, not one person's." + _measured(model.accuracy, "top1", "clips")
    )


def limits(report: Report) -> list[str]:
    """What the report must not be taken for."""
    texts = [
        "The labels say what a face looks like to a model, not what a person feels. People hide, play and "
        "express feelings differently, across cultures and conditions.",
        "A probability is the model's own and is not the chance of being right. Light, angle, glasses, "
        "masks, small or half-hidden faces make it worse; some emotions are told apart much less well than "
        "others.",
        "The data that the models learnt from does not show all ages, skins and scenes alike; see their "
        "model cards.",
    ]
    if not report.stills:
        texts.append(
            "Two people who cross may swap their numbers, and one person may have several; what is said of a "
            "“person” is said of a stretch of video."
        )
    texts.append(
        "Not for decisions about people. Some laws forbid inferring emotions, in the European Union at work "
        "and in education (Regulation (EU) 2024/1689, Article 5). Ask those who are shown before you use it."
    )
    return texts


def privacy(thumbnails: bool) -> str:
    """Whether pictures are in the report."""
    if thumbnails:
        return (
            "Pictures of the input are in this report because they were asked for. Nothing left the machine."
        )
    return "No picture of the input was stored, and nothing left the machine."

"""The first section: the input and the main results, with pictures only if the user requested them."""

from __future__ import annotations

from xml.sax.saxutils import escape

from edgeharfer.report.analyzer import ModelFacts
from edgeharfer.report.content import texts
from edgeharfer.report.content.blocks import (
    Beside,
    Block,
    Bullets,
    Facts,
    Paragraph,
    Photo,
    Section,
    Subheading,
    Tiles,
    Title,
    Together,
)
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.gallery import Gallery, GalleryFrame
from edgeharfer.report.report import Report
from edgeharfer.report.words import counted, label_name, percent, seconds, shortened
from edgeharfer.runtime.faces.detectors import detector_title

_COLUMNS = 3  # of pictures
_HASH_SIGNS = 12
"""Digits of a model's hash on the page; summary.json holds the full hash."""


def cover(report: Report, edition: ReportEdition) -> Section:
    """The first section."""
    single = len(report.recording.samples) == 1
    kind = ("Picture" if single else "Pictures") if report.stills else "Video"
    blocks: list[Block] = [
        Title(
            "Emotion and action report",
            shortened(report.source.name, 90),
            f"{kind}: {report.source.details}. Report of {edition.made}.",
        ),
        Tiles(_tiles(report)),
        Subheading("At a glance"),
        Bullets([escape(text) for text in texts.findings(report)]),
        Subheading("Facts"),
        Facts(_facts(report)),
        Paragraph(
            "The labels describe how faces look to a model, not what people feel: see "
            f'<a href="#method">Method and limits</a>. {texts.privacy(edition.pictured)}',
            small=True,
        ),
    ]
    return Section("cover", "Summary", blocks + (_scenes(edition.gallery) if edition.gallery else []))


def _tiles(report: Report) -> list[tuple[str, str]]:
    group, leader = report.group, report.group.leader
    if report.stills:
        items = [
            (str(len(report.rows)), "face seen" if len(report.rows) == 1 else "faces seen"),
            (percent(group.coverage), "of the pictures show a face"),
        ]
    else:
        items = [
            (str(len(report.shown)), f"{_faces_word(report)} tracked; a face that returns counts again"),
            (percent(group.coverage), "of the time a face was in view"),
        ]
    if leader:
        items.append((label_name(leader[0]), f"most frequent emotion, {percent(leader[1])} of all faces"))
    elif report.labels:
        items.append(
            ("–", "no emotion was certain enough" if report.rows else "no emotion: no face was seen")
        )
    items += texts.strength_tile(group)
    if report.method.action and not report.stills:
        items.append(_action_tile(report))
    return items


def _faces_word(report: Report) -> str:
    return "face" if len(report.shown) == 1 else "faces"


def _action_tile(report: Report) -> tuple[str, str]:
    first = next(iter(texts.named_actions(report).items()), None)
    if first is None:
        return "None", "no action was recognised"
    return label_name(first[0]), f"longest action, {seconds(first[1])}"


def _facts(report: Report) -> list[tuple[str, str]]:
    recording, method = report.recording, report.method
    width, height = report.source.size
    rows = [("Input", report.source.name), ("Picture size", f"{width} × {height} pixels")]
    if report.stills:
        rows.append(("Pictures", f"{len(recording.samples)} read, {len(report.source.skipped)} unreadable"))
    else:
        rate = f" at {report.source.fps:.4g} frames a second" if report.source.fps else ""
        rows.append(("Length", f"{seconds(recording.duration_s)}, {recording.frames} frames{rate}"))
        rows.append(("Samples", f"{len(recording.samples)}, at most {method.fps:g} a second"))
    rows.append(("Faces", _faces(report)))
    rows.append(("Emotion model", _model(method.emotion)))
    rows.append(("Face detector", detector_title(method.detector)))
    if not report.stills:
        rows.append(("Action model", _model(method.action)))
        if method.emotion:
            rows.append(("Smoothing over time", texts.smoothing_words(report.smoothing)))
    rows.append(("Ran on", ", ".join(sorted(set(method.providers.values())))))
    return rows


def _model(model: ModelFacts | None) -> str:
    if model is None:
        return "off"
    return f"{model.name}, {model.precision}, SHA-256 {model.sha256[:_HASH_SIGNS]}… (short form)"


def _faces(report: Report) -> str:
    sightings = counted(len(report.rows), "sighting")
    if report.stills:
        return sightings
    brief = len(report.persons) - len(report.shown)
    more = f", {brief} more seen briefly" if brief else ""
    return f"{len(report.shown)} tracked{more}; {sightings} in all"


def _scenes(gallery: Gallery) -> list[Block]:
    rows = [gallery.scenes[i : i + _COLUMNS] for i in range(0, len(gallery.scenes), _COLUMNS)]
    first, *others = (_scene_row(row) for row in rows)
    return [Together([Subheading("Pictures"), first]), *others]


def _scene_row(scenes: list[GalleryFrame]) -> Beside:
    columns = [
        [Photo(one.jpeg, f"Frame at {seconds(one.time_s)}", one.name or seconds(one.time_s))]
        for one in scenes
    ]
    return Beside(columns, [1 / _COLUMNS] * len(columns))

"""A kiosk with several sources: decisions, events, figures and health by source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
import jsonschema  # type: ignore[import-untyped]

from edgeharfer.kiosk.config import KioskConfig, PrivacyConfig, SourceConfig, load_config, remote_hosts
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.event_publisher import EventPublisher
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.models import ModelReloader
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.service import Service
from edgeharfer.kiosk.state import KioskState
from edgeharfer.kiosk.topics import Topics, schema
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source.base import Source
from kiosk_parts import FakePipeline, FilmSource

DOOR, HALL = SourceConfig(source="rtsp://10.0.0.8/a", name="door"), SourceConfig(camera="1", name="hall")
TWO = KioskConfig(
    source=DOOR,
    further_sources=(replace(HALL, ignore_zones=((0.0, 0.0, 0.5, 1.0),)),),
    privacy=PrivacyConfig(notice_required=False),
)


class Run:
    """A service on a film for each source, until all of them have ended."""

    def __init__(self, folder: Path, films: dict[str, Source | Exception], config: KioskConfig = TWO) -> None:
        clock = SystemClock()
        self.metrics, self.state, self.pipeline = Metrics(), KioskState(config, clock), FakePipeline()
        self.outbox = Outbox(folder / "outbox.db", clock)
        self.outbox._db.execute("PRAGMA synchronous=OFF")
        models = ModelReloader(config, folder, clock, load=lambda *_: cast(Pipeline, self.pipeline))
        events = EventPublisher(Decisions(config.decisions), self.outbox, Topics(config), self.metrics, clock)

        def open_one(spec: str, **_: object) -> Source:
            film = films[spec]
            if isinstance(film, Exception):
                raise film
            return film

        ended = [film for film in films.values() if isinstance(film, FilmSource)]
        over: Callable[[], bool] = lambda: all(film.closed for film in ended)  # noqa: E731
        service = Service(
            config, models, events, self.state, self.metrics, clock, over,
            outbox=self.outbox, send=lambda _: None, opener=open_one,
        )  # fmt: skip
        service.run()
        events.end_all("stopped")

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.outbox.oldest(1000)]

    def value(self, name: str, **labels: str) -> float | None:
        found: float | None = self.metrics.registry.get_sample_value(f"edgeharfer_{name}", labels)
        return found


def test_each_source_has_decisions_figures_and_zones_of_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, {DOOR.spec: FilmSource(1.3), HALL.spec: FilmSource(1.1)})
    starts = [one for one in run.payloads if one["phase"] == "start"]
    assert sorted((one["source"], one["type"]) for one in starts) == [
        (source, kind) for source in ("door", "hall") for kind in ("action", "emotion")
    ]
    people = {one["source"]: one["person"] for one in starts if one["person"]}
    assert people["door"] != people["hall"], "the same track number is another person"
    for payload in run.payloads:
        jsonschema.validate(payload, schema("event"))
    assert all(run.value("source_frames_total", source=name) for name in ("door", "hall"))
    assert run.value("frames_total") == sum(
        run.value("source_frames_total", source=name) or 0 for name in ("door", "hall")
    )
    (hall,) = run.pipeline.others
    assert all(int(frame.bgr.min()) == 200 for frame in run.pipeline.frames)
    assert all(int(frame.bgr[:, :32].max()) == 0 < frame.bgr[:, 32:].min() for frame in hall.frames)


def test_a_source_that_is_away_does_not_keep_the_others_from_working(tmp_path: Path) -> None:
    run = Run(tmp_path, {DOOR.spec: SourceError("door: refused"), HALL.spec: FilmSource(1.1)})
    assert {one["source"] for one in run.payloads} == {"hall"}
    assert run.state.health()["sources"]["door"] != "live"


def test_a_file_with_several_sources(tmp_path: Path) -> None:
    path = tmp_path / "kiosk.toml"
    path.write_text(
        '[[source]]\nname = "door"\nsource = "rtsp://10.0.0.8/a"\n'
        '[[source]]\nname = "hall"\ncamera = "1"\nignore_zones = [[0.0, 0.0, 0.5, 1.0]]\n',
        encoding="utf-8",
    )
    config = load_config(path)
    assert config.sources == TWO.sources and remote_hosts(config) == ["10.0.0.8"]
    path.write_text('[[source]]\ncamera = "3"\n', encoding="utf-8")
    assert load_config(path).sources == (SourceConfig(camera="3"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[source]]\ncamera = "0"\n[[source]]\ncamera = "1"', "each of several sources needs a unique name"),
        ('[[source]]\nname = "a"\n[[source]]\nname = "a"', "each of several sources needs a unique name"),
        ('[[source]]\nname = "a"\n[[source]]\nname = "all"', "each of several sources needs a unique name"),
        ('[[source]]\nname = "a"\n[[source]]\nname = "b"\nsource = "ftp://x/y"', "not a supported source"),
        ('[further_sources]\ncamera = "0"', "unknown key 'further_sources'"),
    ],
)
def test_errors_in_the_sources_of_a_file(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "kiosk.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        load_config(path)

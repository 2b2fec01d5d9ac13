"""The loop: states, readiness, the notice, new models, and a camera that is not there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
import numpy as np

from edgeharfer.kiosk import service
from edgeharfer.kiosk.config import (
    HealthConfig,
    KioskConfig,
    ModelsConfig,
    MqttConfig,
    PrivacyConfig,
    ScreenConfig,
    SourceConfig,
    load_config,
)
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.event_publisher import EventPublisher
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.models import ModelReloader, ModelSelection, load_pipeline
from edgeharfer.kiosk.mqtt import MqttPublisher
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import PrivacyNotice
from edgeharfer.kiosk.service import Service, run_kiosk
from edgeharfer.kiosk.startup import count_start
from edgeharfer.kiosk.state import KioskState
from edgeharfer.kiosk.topics import Topics, schema
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.errors import CameraError, ModelError
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Box, Frame, Reading, TrackedFace
from edgeharfer.runtime.versions import product_version
from kiosk_broker import free_port
from kiosk_parts import FakePipeline, FilmSource, opener
from tiny_models import emotion_package

TOLD = KioskConfig(privacy=PrivacyConfig(notice_required=False))


class Bench:
    """A service with all its parts, on a film, until the film's end."""

    def __init__(
        self, folder: Path, config: KioskConfig = TOLD, pipeline: FakePipeline | None = None
    ) -> None:
        self.clock = SystemClock()
        self.metrics, self.state = Metrics(), KioskState(config, self.clock)
        self.outbox = Outbox(folder / "outbox.db", self.clock)
        self.outbox._db.execute("PRAGMA synchronous=OFF")
        self.pipeline = pipeline or FakePipeline()
        self.models = ModelReloader(config, folder, self.clock, load=lambda *_: cast(Pipeline, self.pipeline))
        decisions = Decisions(config.decisions)
        self.events = EventPublisher(decisions, self.outbox, Topics(config), self.metrics, self.clock)
        self.config, self.sent = config, list[str]()

    def run(self, *outcomes: object, publisher: MqttPublisher | None = None) -> Service:
        films = [one for one in outcomes if isinstance(one, FilmSource)]
        service = Service(
            self.config, self.models, self.events, self.state, self.metrics, self.clock,
            lambda: all(film.closed for film in films), outbox=self.outbox, mqtt=publisher,
            send=self.sent.append, opener=opener(outcomes),
        )  # fmt: skip
        service.run()
        self.events.end_all("stopped")
        return service

    def value(self, name: str, **labels: str) -> float | None:
        value: float | None = self.metrics.registry.get_sample_value(f"edgeharfer_{name}", labels)
        return value

    def payloads(self) -> list[dict[str, object]]:
        return [json.loads(message.payload) for message in self.outbox.oldest(1000)]


def frames_of(pipeline: FakePipeline) -> Iterator[tuple[Frame, frozenset[str]]]:
    """Each frame that a pipeline got, with the tasks that were off then."""
    return zip(pipeline.frames, pipeline.disabled_at, strict=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_frames_become_figures_and_events(bench: Bench) -> None:
    bench.run(FilmSource(1.5))
    frames = bench.value("frames_total")
    assert frames is not None and frames >= 8
    assert bench.value("stage_seconds_count", stage="encode") == frames
    assert bench.value("frame_age_seconds_count") == frames
    assert bench.value("people") == 1
    payloads = bench.payloads()
    assert {(one["type"], one["phase"], one["label"], one["reason"]) for one in payloads} == {
        ("action", "start", "Biking", ""), ("action", "end", "Biking", "stopped"),
        ("emotion", "start", "happy", ""), ("emotion", "end", "happy", "stopped"),
    }  # fmt: skip
    assert bench.value("events_total", type="action", phase="start") == 1
    assert bench.value("outbox_events") == len(payloads) == 4


def test_every_event_is_what_its_schema_says(bench: Bench) -> None:
    validator = pytest.importorskip("jsonschema", reason="needs the dev extra").Draft202012Validator
    bench.run(FilmSource(1.0))
    for payload in bench.payloads():
        validator(schema("event")).validate(payload)
    persons = {one["person"] for one in bench.payloads() if one["type"] == "emotion"}
    assert len(persons) == 1 and len(str(persons.pop())) == 8


def test_a_camera_that_is_not_there_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    bench.run(CameraError("camera 0: not there"), CameraError("camera 0: not there"), FilmSource(0.5))
    assert bench.value("source_reconnects_total") == 2
    assert bench.value("frames_total")
    statuses = [one for one in bench.sent if one.startswith("STATUS")]
    assert statuses[:1] == ["STATUS=source lost"] and "STATUS=source live" in statuses
    assert "WATCHDOG=1" in bench.sent[: bench.sent.index("STATUS=source live")]


@pytest.mark.parametrize("allowed", [False, True])
def test_redirects_are_followed_where_the_configuration_says_so(
    allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    scripted = opener

    def recording(outcomes: Sequence[Any]) -> Callable[..., Any]:
        give = scripted(outcomes)

        def opened(spec: str, **options: object) -> Any:
            asked.append((spec, options["follow_redirects"]))
            return give(spec)

        return opened

    monkeypatch.setattr(sys.modules[__name__], "opener", recording)
    path = tmp_path / "kiosk.toml"
    text = "[source]\nsource = 'http://127.0.0.1/'\n" + ("follow_redirects = true\n" if allowed else "")
    path.write_text(text + "[privacy]\nnotice_required = false\n")
    Bench(tmp_path, load_config(path)).run(FilmSource(0.3))
    assert asked == [("http://127.0.0.1/", allowed)]


def test_a_password_in_the_address_of_the_camera_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = "rtsp://admin:PW@10.0.0.9/live?password=PW"
    bench = Bench(tmp_path, replace(TOLD, source=SourceConfig(source=spec)))
    bench.run(CameraError(f"{spec}: not there"), FilmSource(0.2))
    assert "10.0.0.9" in caplog.text and "PW" not in caplog.text
    assert "PW" not in "".join(bench.sent) + json.dumps(bench.state.health())


def test_health_says_why_the_broker_is_not_reached_and_stays_ready(bench: Bench) -> None:
    unusable = MqttPublisher(KioskConfig(mqtt=MqttConfig(host="127.0.0.1")), bench.outbox, bench.clock)
    unusable.state = "not connected: cannot be reached: Connection refused"
    seen: list[tuple[bool, str]] = []
    steps = {8: lambda: seen.append((bench.state.ready, bench.state.health()["mqtt"]))}
    bench.run(FilmSource(1.0, steps), publisher=unusable)
    assert seen == [(True, unusable.state)]


@pytest.mark.parametrize("view", ["page", "window"])
def test_a_configuration_with_a_window_says_once_where_the_page_is(
    tmp_path: Path, view: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "load_pipeline", lambda *_, **__: FakePipeline())
    port = free_port()
    screen, source = ScreenConfig(view=view), SourceConfig(source="demo")
    config = replace(TOLD, source=source, screen=screen, health=HealthConfig(port))
    run_kiosk(config, tmp_path / "state", stopping=lambda: False, duration_s=0.1)
    warnings = [one for one in caplog.messages if "screen.view" in one]
    assert len(warnings) == (view == "window")
    assert all(f"http://127.0.0.1:{port}/" in one and "kiosk mode" in one for one in warnings)


def test_readiness_follows_the_results(bench: Bench) -> None:
    seen: list[tuple[bool, bool]] = []
    steps = {n: lambda: seen.append((bench.state.healthy, bench.state.ready)) for n in (0, 8)}
    assert not bench.state.ready
    bench.run(FilmSource(1.0, steps))
    assert seen == [(True, False), (True, True)]
    assert bench.state.health()["source"] in ("live", "ended")


def test_emotions_are_off_until_the_notice_is_confirmed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, KioskConfig())
    notices: list[str] = []
    steps = {8: lambda: notices.append(str(bench.state.content()["notice"])), 10: bench.state.confirm}
    bench.run(FilmSource(2.5, steps))
    assert notices == [KioskConfig().privacy.notice]
    off = [frame.seq for frame, off in frames_of(bench.pipeline) if off == {"emotion"}]
    on = [frame.seq for frame, off in frames_of(bench.pipeline) if not off]
    assert max(off) < min(on) and min(on) >= 10
    assert bench.pipeline.resets == 0, "actions and tracks go on"
    assert bench.state.content()["notice"] == ""
    starts = [one for one in bench.payloads() if one["type"] == "emotion" and one["phase"] == "start"]
    assert len(starts) == 1


def test_a_refusal_stops_all_tasks_and_the_screen_shows_nothing_of_the_visitor(tmp_path: Path) -> None:
    bench = Bench(tmp_path, KioskConfig())
    seen: list[dict[str, object]] = []
    steps = {10: bench.state.decline, 24: lambda: seen.append(bench.state.content())}
    bench.run(FilmSource(2.5, steps))
    off = [frame.seq for frame, off in frames_of(bench.pipeline) if off == {"action", "emotion"}]
    assert min(off) >= 10 and max(off) == bench.pipeline.frames[-1].seq
    (content,) = seen
    assert content["declined"] is True and (content["people"], content["action"], content["notice"]) == (
        0,
        "",
        "",
    )
    assert content["camera"] is False and bench.state.picture() == b""


def test_without_emotions_there_is_nothing_to_ask(tmp_path: Path) -> None:
    bench = Bench(tmp_path, KioskConfig(models=ModelsConfig(emotion="off")), FakePipeline(emotion=None))
    bench.run(FilmSource(0.3))
    assert bench.state.content()["notice"] == ""


def test_ignored_zones_reach_no_model(tmp_path: Path) -> None:
    zones = ((0.5, 0.0, 0.5, 1.0),)
    bench = Bench(tmp_path, KioskConfig(privacy=PrivacyConfig(notice_required=False, ignore_zones=zones)))
    bench.run(FilmSource(0.3))
    picture = bench.pipeline.frames[0].bgr
    assert np.all(picture[:, 32:] == 0) and np.all(picture[:, :32] == 200)


def test_new_models_take_over_between_two_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeharfer.kiosk.models.POLL_INTERVAL_S", 0.0)
    bench, new = Bench(tmp_path), FakePipeline("new")

    def install() -> None:
        bench.models._load = lambda *_: cast(Pipeline, new)
        other = ModelSelection("new", "emotion")
        monkeypatch.setattr("edgeharfer.kiosk.models.select_models", lambda *_: other)

    bench.run(FilmSource(2.0, {5: install}))
    assert bench.pipeline.frames and new.frames
    assert bench.pipeline.frames[-1].seq < new.frames[0].seq
    assert bench.pipeline.closed and not new.closed
    assert (
        bench.value("info", version=product_version(), action="new", action_provider="CPUExecutionProvider")
        == 1
    )


def test_models_that_do_not_load_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeharfer.kiosk.models.POLL_INTERVAL_S", 0.0)
    bench = Bench(tmp_path)

    def fail(*_: object) -> None:
        raise ModelError("damaged")

    bench.models._load = fail  # type: ignore[assignment]
    monkeypatch.setattr("edgeharfer.kiosk.models.select_models", lambda *_: ModelSelection("new", "emotion"))
    bench.run(FilmSource(0.5))
    bench.models.close()
    assert len(bench.pipeline.frames) >= 2 and bench.models.failures >= 1


def test_a_disk_that_refuses_is_outlived(bench: Bench) -> None:
    bench.outbox._db.execute("PRAGMA query_only=ON")
    bench.run(FilmSource(1.5))
    failures = bench.value("errors_total", where="outbox")
    assert failures == 4
    frames = bench.value("frames_total")
    assert frames is not None and frames >= 8


def test_a_decision_whose_start_was_kept_gets_its_end_when_the_disk_works_again(bench: Bench) -> None:
    def full(on: bool) -> None:
        bench.outbox._db.execute(f"PRAGMA query_only={'ON' if on else 'OFF'}")

    def rests() -> None:
        bench.pipeline.emotion = None

    # the face's emotion ends while the disk is full, and the action's end comes after that
    bench.run(FilmSource(3.4, {10: lambda: full(True), 11: rests, 22: lambda: full(False)}))
    told = [(one["type"], one["phase"], one["reason"]) for one in bench.payloads()]
    assert sorted(told[:2]) == [("action", "start", ""), ("emotion", "start", "")]
    assert told[2:] == [("emotion", "end", "left"), ("action", "end", "stopped")]
    assert bench.outbox.open_decisions() == []


def test_starts_are_counted_over_restarts(tmp_path: Path) -> None:
    assert [count_start(tmp_path / "state") for _ in range(3)] == [1, 2, 3]
    (tmp_path / "state" / "starts").write_bytes(b"\xff")
    assert count_start(tmp_path / "state") == 1


def test_dropped_frames_are_counted_over_captures() -> None:
    metrics = Metrics()
    for total in (0, 3, 5, 0, 2):
        metrics.count_dropped(total)
    assert metrics.registry.get_sample_value("edgeharfer_frames_dropped_total") == 7


def test_numbers_of_further_tasks_are_those_of_the_largest_face() -> None:
    metrics = Metrics()
    small, large = (
        TrackedFace(track, Box(0, 0, side, side), 0.9, {"headpose": Reading(values={"yaw": side})})
        for track, side in ((1, 10.0), (2, 20.0))
    )

    def yaw() -> float | None:
        labels = {"task": "headpose", "name": "yaw"}
        value: float | None = metrics.registry.get_sample_value("edgeharfer_reading", labels)
        return value

    metrics.count(Result(0, 0.0, 1.0, (small, large), {"light": Reading(values={"mean": 3.0})}))
    assert yaw() == 20
    assert metrics.registry.get_sample_value("edgeharfer_reading", {"task": "light", "name": "mean"}) == 3
    metrics.count(Result(1, 0.0, 1.0))
    assert yaw() is None, "nobody is there"


@pytest.mark.parametrize("required", [True, False])
def test_nothing_is_read_of_a_face_before_the_notice_was_given(required: bool, tmp_path: Path) -> None:
    emotion = str(emotion_package(tmp_path / "emotion").path)
    config = KioskConfig(models=ModelsConfig(action="off", emotion=emotion, tasks=("headpose",)))
    notice = PrivacyNotice(required=required, forget_s=60, clock=SystemClock())
    pipeline = load_pipeline(config, ModelSelection(None, emotion), SystemClock())
    source = DemoSource(SystemClock())

    def read(numbers: range) -> set[str]:
        """The tasks that read some face, in these pictures of the demo."""
        found, faces = set[str](), 0
        for number in numbers:
            notice.apply(pipeline)
            result = pipeline.process(Frame(number, number / 10, 0.0, source.picture(number)))
            faces += len(result.faces)
            found |= {task for face in result.faces for task in face.readings}
        assert faces
        return found

    with pipeline, source:
        assert read(range(3)) == (set() if required else {"emotion", "headpose"})
        notice.confirm()
        assert read(range(3, 6)) == {"emotion", "headpose"}


def test_a_loop_that_hangs_is_not_healthy() -> None:
    clock = ManualClock()
    state = KioskState(TOLD, clock)
    state.set_health("", {})
    assert state.healthy and state.ready
    clock.sleep(11)
    assert not state.healthy and not state.ready

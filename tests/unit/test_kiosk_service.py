"""The loop: states, readiness, the notice, new models, and a camera that is not there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
import numpy as np

from edgeharfer.kiosk.config import Input, KioskConfig, Models, Mqtt, Privacy, load_config
from edgeharfer.kiosk.courier import Courier
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.desk import Desk
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.service import Service
from edgeharfer.kiosk.slot import Lineup, Slot, build
from edgeharfer.kiosk.startup import count_start
from edgeharfer.kiosk.teller import Teller
from edgeharfer.kiosk.topics import Topics, schema
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.errors import CameraError, ModelError
from edgeharfer.runtime.types import Box, Reading, Result, TrackedFace
from edgeharfer.runtime.versions import product_version
from kiosk_parts import FakePipeline, FilmSource, engines, opener

TOLD = KioskConfig(privacy=Privacy(notice_required=False))


class Bench:
    """A service with all its parts, on a film, until the film's end."""

    def __init__(
        self, folder: Path, config: KioskConfig = TOLD, told: FakePipeline | None = None,
        untold: FakePipeline | None = None,
    ) -> None:  # fmt: skip
        self.clock = SystemClock()
        self.metrics, self.desk = Metrics(), Desk(config, self.clock)
        self.outbox = Outbox(folder / "outbox.db", self.clock)
        self.outbox._db.execute("PRAGMA synchronous=OFF")
        self.told, self.untold = told or FakePipeline(), untold
        self.slot = Slot(config, folder, self.clock, make=lambda *_: engines(self.told, self.untold))
        decisions = Decisions(config.decisions)
        self.teller = Teller(decisions, self.outbox, Topics(config), self.metrics, self.clock)
        self.config, self.sent = config, list[str]()

    def run(self, *outcomes: object, courier: Courier | None = None) -> Service:
        films = [one for one in outcomes if isinstance(one, FilmSource)]
        service = Service(
            self.config, self.slot, self.teller, self.desk, self.metrics, self.clock,
            lambda: all(film.closed for film in films), send=self.sent.append, opener=opener(outcomes),
        )  # fmt: skip
        service.attach(self.outbox, courier)
        service.run()
        self.teller.close("stopped")
        return service

    def value(self, name: str, **labels: str) -> float | None:
        value: float | None = self.metrics.registry.get_sample_value(f"edgeharfer_{name}", labels)
        return value

    def payloads(self) -> list[dict[str, object]]:
        return [json.loads(letter.payload) for letter in self.outbox.first(1000)]


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
    bench = Bench(tmp_path, replace(TOLD, source=Input(source=spec)))
    bench.run(CameraError(f"{spec}: not there"), FilmSource(0.2))
    assert "10.0.0.9" in caplog.text and "PW" not in caplog.text
    assert "PW" not in "".join(bench.sent) + json.dumps(bench.desk.health())


def test_health_says_why_the_broker_is_not_reached_and_stays_ready(bench: Bench) -> None:
    unusable = Courier(KioskConfig(mqtt=Mqtt(host="127.0.0.1")), bench.outbox, bench.clock)
    unusable.state = "not connected: cannot be reached: Connection refused"
    seen: list[tuple[bool, str]] = []
    steps = {8: lambda: seen.append((bench.desk.ready, bench.desk.health()["mqtt"]))}
    bench.run(FilmSource(1.0, steps), courier=unusable)
    assert seen == [(True, unusable.state)]


def test_readiness_follows_the_results(bench: Bench) -> None:
    seen: list[tuple[bool, bool]] = []
    steps = {n: lambda: seen.append((bench.desk.healthy, bench.desk.ready)) for n in (0, 8)}
    assert not bench.desk.ready
    bench.run(FilmSource(1.0, steps))
    assert seen == [(True, False), (True, True)]
    assert bench.desk.health()["source"] in ("live", "ended")


def test_emotions_are_off_until_the_notice_is_confirmed(tmp_path: Path) -> None:
    told, untold = FakePipeline("told"), FakePipeline("untold", emotion=None)
    bench = Bench(tmp_path, KioskConfig(), told, untold)
    notices: list[str] = []
    steps = {8: lambda: notices.append(str(bench.desk.state()["notice"])), 10: bench.desk.confirm}
    bench.run(FilmSource(2.5, steps))
    assert notices == [KioskConfig().privacy.notice]
    assert max(frame.seq for frame in untold.frames) < min(frame.seq for frame in told.frames)
    assert min(frame.seq for frame in told.frames) >= 10
    assert bench.desk.state()["notice"] == ""
    starts = [one for one in bench.payloads() if one["type"] == "emotion" and one["phase"] == "start"]
    assert len(starts) == 1


def test_without_emotions_there_is_nothing_to_ask(tmp_path: Path) -> None:
    bench = Bench(tmp_path, KioskConfig(models=Models(emotion="off")), FakePipeline(emotion=None))
    bench.run(FilmSource(0.3))
    assert bench.desk.state()["notice"] == ""


def test_ignored_zones_reach_no_model(tmp_path: Path) -> None:
    zones = ((0.5, 0.0, 0.5, 1.0),)
    bench = Bench(tmp_path, KioskConfig(privacy=Privacy(notice_required=False, ignore_zones=zones)))
    bench.run(FilmSource(0.3))
    picture = bench.told.frames[0].bgr
    assert np.all(picture[:, 32:] == 0) and np.all(picture[:, :32] == 200)


def test_new_models_take_over_between_two_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeharfer.kiosk.slot.LOOK_EVERY_S", 0.0)
    bench, new = Bench(tmp_path), FakePipeline("new")
    lineup = bench.slot.engines.lineup
    monkeypatch.setattr("edgeharfer.kiosk.slot.wanted_lineup", lambda *_: lineup)

    def install() -> None:
        monkeypatch.setattr("edgeharfer.kiosk.slot.wanted_lineup", lambda *_: engines(new, name="new").lineup)
        bench.slot._make = lambda *_: engines(new, name="new")

    bench.run(FilmSource(2.0, {5: install}))
    assert bench.told.frames and new.frames
    assert bench.told.frames[-1].seq < new.frames[0].seq
    assert (
        bench.value("info", version=product_version(), action="new", action_provider="CPUExecutionProvider")
        == 1
    )


def test_models_that_do_not_load_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeharfer.kiosk.slot.LOOK_EVERY_S", 0.0)
    bench = Bench(tmp_path)

    def fail(*_: object) -> None:
        raise ModelError("damaged")

    bench.slot._make = fail  # type: ignore[assignment]
    bench.run(FilmSource(0.5))
    bench.slot.close()
    assert len(bench.told.frames) >= 2 and bench.slot.failures >= 1


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
        bench.told.emotion = None

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


def test_nothing_is_read_of_a_face_before_the_notice_was_given() -> None:
    models = Models(action="off", emotion="off", tasks=("headpose",))
    made = build(KioskConfig(models=models), Lineup(None, None), SystemClock())
    assert "headpose" in repr(made.told) and "headpose" not in repr(made.untold)
    open_site = KioskConfig(models=models, privacy=Privacy(notice_required=False))
    made = build(open_site, Lineup(None, None), SystemClock())
    assert made.told is made.untold


def test_a_loop_that_hangs_is_not_healthy() -> None:
    clock = ManualClock()
    desk = Desk(TOLD, clock)
    desk.turn("", {})
    assert desk.healthy and desk.ready
    clock.sleep(11)
    assert not desk.healthy and not desk.ready

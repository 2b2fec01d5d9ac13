"""A kiosk that is killed, started twice, or started while its port is taken or its disk is full."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
from edgeharfer.cli.kiosk import kiosk as kiosk_command
from edgeharfer.cli.models import models as models_command
from edgeharfer.kiosk import service
from edgeharfer.kiosk.config import HealthConfig, KioskConfig, PrivacyConfig, SourceConfig
from edgeharfer.kiosk.event_publisher import end_open_decisions
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.probe import fetch
from edgeharfer.kiosk.service import run_kiosk
from edgeharfer.kiosk.topics import schema
from edgeharfer.runtime.clock import SystemClock
from kiosk_broker import Broker
from kiosk_parts import FakePipeline
from kiosk_process import KioskProcess
from kiosk_subscriber import Subscriber, eventually
from mjpeg_server import wait_until
from tiny_models import emotion_package

needs_systemd = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")
RULES = "[decisions]\nmin_duration_s = 0.1\ncooldown_s = 0.0\nmin_score = 0.1\n"


def events(subscriber: Subscriber) -> list[dict[str, Any]]:
    """What has come, each event once: QoS 1 may bring one twice."""
    payloads = [json.loads(message.payload) for message in list(subscriber.messages)]
    return list({one["id"]: one for one in payloads}.values())


def one_is_open(subscriber: Subscriber, before: set[str]) -> bool:
    return bool(broken_off(events(subscriber)) - before)


def broken_off(events: list[dict[str, Any]]) -> set[str]:
    """Decisions that have started and not ended."""
    phases = {
        phase: {one["decision"] for one in events if one["phase"] == phase} for phase in ("start", "end")
    }
    return phases["start"] - phases["end"]


@needs_systemd
@pytest.mark.needs("mosquitto")
def test_decisions_of_a_killed_kiosk_are_ended_once_by_the_next(tmp_path: Path) -> None:
    validator = pytest.importorskip("jsonschema", reason="needs the dev extra").Draft202012Validator
    with Broker(tmp_path) as broker, Subscriber(broker.port, "edgeharfer/kiosk/event/+") as subscriber:
        more = f"{RULES}[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\ndiscovery = false\n"
        kiosk, left = KioskProcess(tmp_path, "demo", more=more), set[str]()
        for _ in range(2):
            with kiosk:
                wait_until(partial(one_is_open, subscriber, left), 60)
                kiosk.process.send_signal(signal.SIGKILL)
                kiosk.process.wait(20)
            left |= broken_off(events(subscriber))
        with kiosk:
            eventually(lambda: not broken_off(events(subscriber)) & left)
            kiosk.stop()
        eventually(lambda: not broken_off(events(subscriber)))
        told = events(subscriber)
    phases = Counter((one["decision"], one["phase"]) for one in told)
    assert set(phases.values()) == {1}
    for decision in {one["decision"] for one in told}:
        assert [one["phase"] for one in told if one["decision"] == decision] == ["start", "end"]
    ended = [one for one in told if one["reason"] == "process ended"]
    assert ended
    for one in told:
        validator(schema("event")).validate(one)
    with Outbox(kiosk.state / "outbox.db", SystemClock()) as outbox:
        assert len(outbox) == 0 and outbox.open_decisions() == []


def test_an_end_is_put_once_and_after_what_waits(tmp_path: Path) -> None:
    start = {"id": "a-start", "decision": "a", "phase": "start", "label": "Biking", "ended": None}
    with Outbox(tmp_path / "outbox.db", SystemClock()) as outbox:
        outbox.put("b-start", "t", b"b", starts="b")
        outbox.put("a-start", "t", json.dumps(start).encode(), starts="a")
        outbox.put("b-end", "t", b"b", ends="b")
    for _ in range(3):
        with Outbox(tmp_path / "outbox.db", SystemClock()) as outbox:
            end_open_decisions(outbox)
    with Outbox(tmp_path / "outbox.db", SystemClock()) as outbox:
        payloads = [message.payload for message in outbox.oldest(9)]
    assert len(payloads) == 4 and payloads[0] == payloads[2] == b"b"
    end = json.loads(payloads[3])
    assert (end["id"], end["phase"], end["reason"]) == ("a-end", "end", "process ended")
    assert (end["ended"], end["duration_s"]) == (None, None), "nobody saw it end"


@needs_systemd
@pytest.mark.needs("mosquitto")
def test_a_second_kiosk_is_refused_before_it_touches_anything(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        more = f"[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\ndiscovery = false\n"
        first = KioskProcess(tmp_path, "demo", more=more)
        with first:
            eventually(lambda: len(subscriber.messages) > 0)
            starts = (first.state / "starts").read_bytes()
            code, complaints = first.run_to_its_end()
            assert (code, complaints.count("\n")) == (2, 1), complaints
            assert f"{first.state}: in use by another kiosk" in complaints
            assert (first.state / "starts").read_bytes() == starts
            check_administration(tmp_path, first)
            first.stop()
        status = subscriber.payloads("edgeharfer/kiosk/status")
    assert [one["state"] for one in status] == ["online", "offline"]


def check_administration(folder: Path, kiosk: KioskProcess) -> None:
    """What a person does beside a kiosk that runs still works."""
    places = ["--config", str(folder / "kiosk.toml"), "--state", str(kiosk.state)]
    package = str(emotion_package(folder / "new").path)
    install = CliRunner().invoke(models_command, ["install", package, *places])
    assert install.exit_code == 0, install.output
    assert (kiosk.state / "models" / "emotion" / "current").is_dir()
    calibrate = ["calibrate", "--source", "demo", "--minutes", "0.02", *places]
    done = CliRunner().invoke(kiosk_command, calibrate)
    assert done.exit_code == 0, done.output
    root = folder / "root"
    (root / "etc" / "edgeharfer").mkdir(parents=True)
    (root / "etc/edgeharfer/kiosk.toml").write_text(f"[health]\nport = {kiosk.port}\n", encoding="utf-8")
    wait_until(lambda: CliRunner().invoke(kiosk_command, ["status", "--root", str(root)]).exit_code == 0)


def test_a_port_that_is_taken_at_start_is_taken_over_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "load_pipeline", lambda *_, **__: FakePipeline())
    stopping, ended = threading.Event(), list[BaseException | None]()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        config = KioskConfig(
            source=SourceConfig(source="demo"),
            health=HealthConfig(port),
            privacy=PrivacyConfig(notice_required=False),
        )

        def work() -> None:
            run_kiosk(config, tmp_path / "state", stopping=stopping.is_set)
            ended.append(None)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_until(lambda: "is in use" in caplog.text)
            assert thread.is_alive() and not ended
            holder.close()
            wait_until(lambda: fetch(port, "/readyz")[0] == 200)
        finally:
            stopping.set()
            thread.join(20)
    assert ended == [None]
    assert caplog.text.count("is in use") == 2, "told when it begins and when it has passed"


DISK = """
mount -t tmpfs -o size=8m tmpfs "$1/state" || exit 77
dd if=/dev/zero of="$1/state/ballast" bs=4k 2>/dev/null
(while [ ! -e "$1/free" ]; do sleep 0.05; done; rm "$1/state/ballast") &
shift
exec "$@"
"""


@needs_systemd
@pytest.mark.needs("leave to mount a file system")
def test_a_disk_that_is_full_at_start_is_used_when_it_is_free(tmp_path: Path) -> None:
    wrapper = ["unshare", "--user", "--map-root-user", "--mount"]
    (tmp_path / "state").mkdir()
    more = "[mqtt]\nhost = '127.0.0.1'\nport = 9\n"
    kiosk = KioskProcess(
        tmp_path, "demo", wrapper=[*wrapper, "sh", "-c", DISK, "sh", str(tmp_path)], more=more
    )

    def free_when_it_waits() -> None:
        wait_until(lambda: waits(kiosk), 60)
        (tmp_path / "free").touch()

    waiting = threading.Thread(target=free_when_it_waits)
    waiting.start()
    with kiosk:
        waiting.join()
        wait_until(lambda: kiosk.fetch("/readyz")[0] == 200)
        kiosk.stop()
    messages = kiosk.messages()
    assert next(n for n, one in enumerate(messages) if "disk is full" in one) < messages.index(
        next(one for one in messages if one.startswith("READY=1"))
    )
    assert "this start is not counted" in kiosk.complaints


def waits(kiosk: KioskProcess) -> bool:
    """Health says what is waited for, and so does systemd's status."""
    code, text = kiosk.fetch("/readyz")
    status = any("STATUS=waiting: " in one and "disk is full" in one for one in kiosk.messages())
    return code == 503 and "disk is full" in text and status

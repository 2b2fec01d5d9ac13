"""The courier and a real mosquitto: nothing lost, nothing twice, and said to be gone when it is gone."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edgeharfer.kiosk import courier as courier_module
from edgeharfer.kiosk.config import KioskConfig, Mqtt, Site
from edgeharfer.kiosk.courier import Courier, read_password
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ConfigError
from kiosk_broker import Broker, free_port
from system_parts import find_program

pytestmark = pytest.mark.needs("mosquitto")
WAIT_S = 60.0


class Subscriber:
    """Listens with a session that the broker keeps, and gathers what comes."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.messages: list[MQTTMessage] = []
        self.subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        if login:
            self._client.username_pw_set(**login)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = lambda client, data, message: self.messages.append(message)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self.subscribed.wait(WAIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def identities(self) -> dict[str, None]:
        """The ids of all events, each where it came first."""
        return dict.fromkeys(json.loads(one.payload).get("id") for one in list(self.messages))

    def payloads(self, topic: str) -> list[Any]:
        return [json.loads(message.payload) for message in list(self.messages) if message.topic == topic]


def eventually(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, "it did not come true"
        time.sleep(0.02)


def configure(port: int, **changes: Any) -> KioskConfig:
    mqtt = Mqtt(host="127.0.0.1", port=port, discovery=False)
    return KioskConfig(site=Site(name="shop"), mqtt=replace(mqtt, **changes))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(courier_module, "LONGEST_PAUSE_S", 0.2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db", SystemClock()) as opened:
        yield opened


def put(outbox: Outbox, number: int) -> None:
    outbox.put(f"id-{number}", "edgeharfer/shop/event/action", b'{"id":"id-%d"}' % number)


def test_ten_thousand_events_while_the_broker_is_killed_and_returns(broker: Broker, outbox: Outbox) -> None:
    count = 10_000
    outbox._db.execute("PRAGMA synchronous=OFF")  # the disk is not what is tested here
    with Subscriber(broker.port, "edgeharfer/shop/event/+") as subscriber:
        broker.stop()  # from here on its file knows the subscription
        broker.start()
        subscriber.subscribed.clear()
        with Courier(configure(broker.port), outbox, SystemClock()) as courier:
            for number in range(count):
                put(outbox, number)
                if number in (1250, 3750):
                    broker.stop()
                    broker.start()
                if number in (6250, 8750):  # what mosquitto keeps for an absent listener dies with it
                    eventually(lambda sent=number: len(subscriber.identities()) > sent)  # type: ignore[misc]
                if number in (6300, 8800):
                    kill(broker, subscriber)
                    broker.start()
            eventually(lambda: len(outbox) == 0)
            assert courier.connections >= 3
        eventually(lambda: len(subscriber.identities()) == count)
    # the first of each, in the order in which they were put
    assert list(subscriber.identities()) == [f"id-{number}" for number in range(count)]


def kill(broker: Broker, subscriber: Subscriber) -> None:
    """kill -9 amid the events, once the subscriber has read what was on its way to it.

    Else the system would throw that away with the broker's sockets, and the loss would be the broker's.
    """
    broker.freeze()
    before = -1
    while before != len(subscriber.messages):
        before = len(subscriber.messages)
        time.sleep(1.0)
    broker.stop(signal.SIGKILL)


def test_what_was_not_acknowledged_is_sent_by_the_next_process(broker: Broker, tmp_path: Path) -> None:
    with Outbox(tmp_path / "later.db", SystemClock()) as outbox:
        nobody = configure(free_port())
        with Courier(nobody, outbox, SystemClock()):
            for number in range(20):
                put(outbox, number)
        assert len(outbox) == 20
    with (
        Subscriber(broker.port, "edgeharfer/shop/event/+") as subscriber,
        Outbox(tmp_path / "later.db", SystemClock()) as outbox,
    ):
        with Courier(configure(broker.port), outbox, SystemClock()):
            eventually(lambda: len(outbox) == 0)
        eventually(lambda: len(subscriber.messages) == 20)


def test_the_last_events_go_out_before_it_says_that_it_stops(broker: Broker, outbox: Outbox) -> None:
    with Subscriber(broker.port) as subscriber:
        with Courier(configure(broker.port), outbox, SystemClock()) as courier:
            eventually(lambda: courier.connected)
            put(outbox, 1)
        eventually(lambda: len(subscriber.payloads("edgeharfer/shop/status")) == 2)
    assert subscriber.payloads("edgeharfer/shop/event/action") == [{"id": "id-1"}]
    assert [one["reason"] for one in subscriber.payloads("edgeharfer/shop/status")] == ["running", "stopped"]
    assert subscriber.messages[-1].topic == "edgeharfer/shop/status"


def test_the_broker_says_offline_when_the_connection_breaks(broker: Broker, outbox: Outbox) -> None:
    with (
        Subscriber(broker.port) as subscriber,
        Courier(configure(broker.port), outbox, SystemClock()) as courier,
    ):
        eventually(lambda: courier.connected)
        link = courier._client.socket()
        assert isinstance(link, socket.socket)
        link.shutdown(socket.SHUT_RDWR)
        status = "edgeharfer/shop/status"
        eventually(
            lambda: (
                [one["reason"] for one in subscriber.payloads(status)][1:3] == ["connection lost", "running"]
            )
        )


def test_home_assistant_is_told_of_three_sensors(broker: Broker, outbox: Outbox) -> None:
    validator = pytest.importorskip("jsonschema", reason="needs the dev extra").Draft202012Validator
    from edgeharfer.kiosk.topics import schema

    with (
        Courier(configure(broker.port, discovery=True), outbox, SystemClock(), version="1.0") as courier,
        Subscriber(broker.port, "homeassistant/#") as subscriber,
    ):
        eventually(lambda: courier.connected)
        eventually(lambda: len(subscriber.messages) >= 3)
    for message in subscriber.messages:
        validator(schema("discovery")).validate(json.loads(message.payload))
    assert {message.topic for message in subscriber.messages} == {
        "homeassistant/sensor/edgeharfer_shop/action/config",
        "homeassistant/sensor/edgeharfer_shop/emotion/config",
        "homeassistant/binary_sensor/edgeharfer_shop/online/config",
    }


def test_a_password_is_needed_and_given(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("", encoding="utf-8")
    tool = str(find_program("mosquitto_passwd"))
    subprocess.run([tool, "-b", str(passwords), "kiosk", "right"], check=True, capture_output=True)
    (tmp_path / "right").write_text("right\n", encoding="utf-8")
    (tmp_path / "wrong").write_text("wrong\n", encoding="utf-8")
    with (
        Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker,
        Outbox(tmp_path / "outbox.db", SystemClock()) as outbox,
    ):
        put(outbox, 1)
        login = {"username": "kiosk", "password_file": str(tmp_path / "wrong")}
        with Courier(configure(broker.port, **login), outbox, SystemClock()):
            time.sleep(0.5)
        assert len(outbox) == 1
        login["password_file"] = str(tmp_path / "right")
        with Courier(configure(broker.port, **login), outbox, SystemClock()):
            eventually(lambda: len(outbox) == 0)


# A socket whose handshake fails is left by paho to the garbage collector, which closes it at once.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.needs("OpenSSL")
def test_tls_takes_the_broker_of_its_authority_and_no_other(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        words = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem", "-days", "2",
            "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
        ]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True)
    lines = ["allow_anonymous true", f"certfile {tmp_path}/ours.pem", f"keyfile {tmp_path}/ours.key"]
    with (
        Broker(tmp_path, *lines) as broker,
        Outbox(tmp_path / "outbox.db", SystemClock()) as outbox,
    ):
        put(outbox, 1)
        with Courier(
            configure(broker.port, tls=True, ca_file=f"{tmp_path}/theirs.pem"), outbox, SystemClock()
        ):
            time.sleep(0.5)
        assert len(outbox) == 1
        with Courier(configure(broker.port, tls=True, ca_file=f"{tmp_path}/ours.pem"), outbox, SystemClock()):
            eventually(lambda: len(outbox) == 0)


def test_a_password_of_systemd_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "mqtt-password").write_text("from systemd\nsecond line\n", encoding="utf-8")
    assert read_password("/nowhere", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from systemd"
    with pytest.raises(ConfigError, match="password_file"):
        read_password(str(tmp_path / "gone"), {})

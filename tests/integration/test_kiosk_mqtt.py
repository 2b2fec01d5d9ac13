"""The publisher and a real mosquitto: nothing lost, nothing twice, and said to be gone when it is gone."""

from __future__ import annotations

import json
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgeharfer.kiosk import mqtt as mqtt_module
from edgeharfer.kiosk.config import KioskConfig, MqttConfig, SiteConfig
from edgeharfer.kiosk.mqtt import MqttPublisher, read_password
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ConfigError
from kiosk_broker import Broker, free_port
from kiosk_subscriber import Subscriber, eventually
from system_parts import find_program

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = pytest.mark.needs("mosquitto")


def configure(port: int, **changes: Any) -> KioskConfig:
    mqtt = MqttConfig(host="127.0.0.1", port=port, discovery=False)
    return KioskConfig(site=SiteConfig(name="shop"), mqtt=replace(mqtt, **changes))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(mqtt_module, "MAX_PAUSE_S", 0.2)
    monkeypatch.setattr(mqtt_module, "CORRECTION_INTERVAL_S", 0.1)


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
        with MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher:
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
            assert publisher.connections >= 3
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
        with MqttPublisher(nobody, outbox, SystemClock()):
            for number in range(20):
                put(outbox, number)
        assert len(outbox) == 20
    with (
        Subscriber(broker.port, "edgeharfer/shop/event/+") as subscriber,
        Outbox(tmp_path / "later.db", SystemClock()) as outbox,
    ):
        with MqttPublisher(configure(broker.port), outbox, SystemClock()):
            eventually(lambda: len(outbox) == 0)
        eventually(lambda: len(subscriber.messages) == 20)


def test_the_last_events_go_out_before_it_says_that_it_stops(broker: Broker, outbox: Outbox) -> None:
    with Subscriber(broker.port) as subscriber:
        with MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher:
            eventually(lambda: publisher.connected)
            put(outbox, 1)
        eventually(lambda: len(subscriber.payloads("edgeharfer/shop/status")) == 2)
    assert subscriber.payloads("edgeharfer/shop/event/action") == [{"id": "id-1"}]
    assert [one["reason"] for one in subscriber.payloads("edgeharfer/shop/status")] == ["running", "stopped"]
    assert subscriber.messages[-1].topic == "edgeharfer/shop/status"


def test_the_broker_says_offline_when_the_connection_breaks(broker: Broker, outbox: Outbox) -> None:
    with (
        Subscriber(broker.port) as subscriber,
        MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher,
    ):
        eventually(lambda: publisher.connected)
        link = publisher._client.socket()
        assert isinstance(link, socket.socket)
        link.shutdown(socket.SHUT_RDWR)
        status = "edgeharfer/shop/status"
        eventually(
            lambda: (
                [one["reason"] for one in subscriber.payloads(status)][1:3] == ["connection lost", "running"]
            )
        )


STATUS = "edgeharfer/shop/status"
ONLINE = {"kind": "status", "state": "online", "reason": "running"}


def retained(port: int, **login: str) -> Any:
    """The status that a new subscriber receives."""
    with Subscriber(port, STATUS, name=f"asker-{time.monotonic_ns()}", **login) as asker:
        eventually(lambda: len(asker.messages) > 0)
        return json.loads(asker.messages[0].payload)


def connect(port: int, name: str = "") -> Client:
    """A connection with a last will of its own, such as another kiosk of this site has."""
    other = Client(CallbackAPIVersion.VERSION2, name)
    other.will_set(STATUS, b'{"state":"offline"}', qos=1, retain=True)
    other.connect("127.0.0.1", port)
    eventually(lambda: other.loop(0.02) == 0 and other.is_connected())
    return other


def end_abruptly(other: Client) -> None:
    """Its last will is sent."""
    link = other.socket()
    assert isinstance(link, socket.socket)
    link.shutdown(socket.SHUT_RDWR)
    other.disconnect()


def test_a_kiosk_has_the_same_name_after_a_restart_and_no_other_has_it(tmp_path: Path) -> None:
    names = []
    for file in ("one.db", "one.db", "two.db"):
        with Outbox(tmp_path / file, SystemClock()) as outbox:
            names.append(MqttPublisher(configure(1), outbox, SystemClock())._client._client_id)
    assert names[0] == names[1] != names[2]


def test_copies_of_one_disk_do_not_end_each_others_connections_for_ever(
    broker: Broker, tmp_path: Path
) -> None:
    names = ("one.db", "two.db")
    with Outbox(tmp_path / "one.db", SystemClock()) as outbox:
        outbox.client_id()
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    with Outbox(tmp_path / names[0], SystemClock()) as one, Outbox(tmp_path / names[1], SystemClock()) as two:
        first, second = (
            MqttPublisher(configure(broker.port), outbox, SystemClock()) for outbox in (one, two)
        )
        assert first._client._client_id == second._client._client_id
        with Subscriber(broker.port, "edgeharfer/shop/event/+") as subscriber, first, second:
            eventually(lambda: first._client._client_id != second._client._client_id)
            eventually(lambda: first.connected and second.connected)
            for number, outbox in enumerate((one, two)):
                put(outbox, number)
            eventually(lambda: len(subscriber.identities()) == 2)


def test_a_connection_that_the_kiosk_before_has_left_ends_with_the_new_one(
    broker: Broker, outbox: Outbox
) -> None:
    before, publisher = (MqttPublisher(configure(broker.port), outbox, SystemClock()) for _ in range(2))
    left = connect(broker.port, before._client._client_id.decode())
    with Subscriber(broker.port, STATUS) as subscriber, publisher:
        eventually(lambda: len(subscriber.payloads(STATUS)) == 2)
        assert [one["state"] for one in subscriber.payloads(STATUS)] == ["offline", "online"]
    left.disconnect()


def test_a_status_that_is_not_true_is_corrected(broker: Broker, outbox: Outbox) -> None:
    with (
        MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher,
        Subscriber(broker.port, STATUS) as subscriber,
    ):
        eventually(lambda: publisher.connected)
        end_abruptly(connect(broker.port))
        eventually(
            lambda: [one["state"] for one in subscriber.payloads(STATUS)][-2:] == ["offline", "online"]
        )
        for payload in (b'{"state":"offline","reason":"stopped"}', b"", b"\xff\x00"):
            count = len(subscriber.messages)
            other = connect(broker.port)
            other.publish(STATUS, payload, retain=True)
            other.disconnect()
            eventually(lambda count=count: len(subscriber.messages) >= count + 2)  # type: ignore[misc]
            assert json.loads(subscriber.messages[-1].payload) == ONLINE
    assert retained(broker.port)["reason"] == "stopped"


def test_a_status_that_may_not_be_read_is_published_again_and_again(
    tmp_path: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "STATUS_REPEAT_S", 0.2)
    rights = tmp_path / "rights"
    rights.write_text("topic write #\nuser listener\ntopic readwrite #\n", encoding="utf-8")
    login = {"username": "listener", "password": ""}
    with Broker(tmp_path, "allow_anonymous true", f"acl_file {rights}") as broker:
        with MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher:
            eventually(lambda: publisher.connected)
            end_abruptly(connect(broker.port))
            with Subscriber(broker.port, STATUS, **login) as subscriber:
                eventually(lambda: len(subscriber.messages) >= 3)
                assert subscriber.payloads(STATUS)[-1] == ONLINE
        assert retained(broker.port, **login)["reason"] == "stopped"


class Wire:
    """A relay before the broker; `cut` leaves its connections open and carries nothing over them any more."""

    def __init__(self, target: int) -> None:
        self._target, self._dead = target, set[socket.socket]()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._carry)

    def cut(self) -> None:
        self._dead |= set(self._peers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for link in (self._listener, *self._peers):
            link.close()

    def _carry(self) -> None:
        while not self._ending.is_set():
            alive = [link for link in self._peers if link not in self._dead]
            for link in select.select([self._listener, *alive], [], [], 0.02)[0]:
                if link is self._listener:
                    near, far = link.accept()[0], socket.create_connection(("127.0.0.1", self._target))
                    self._peers |= {near: far, far: near}
                elif data := link.recv(65536):
                    self._peers[link].sendall(data)
                else:
                    self._dead |= {link, self._peers[link]}


def test_a_link_that_carries_nothing_any_more_is_replaced(
    broker: Broker, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * mqtt_module.KEEPALIVE_S + mqtt_module.CONNECT_TIMEOUT_S < 10, "as it ships"
    monkeypatch.setattr(mqtt_module, "KEEPALIVE_S", 1)
    with (
        Wire(broker.port) as wire,
        Subscriber(broker.port, STATUS) as subscriber,
        MqttPublisher(configure(wire.port), outbox, SystemClock()) as publisher,
    ):
        eventually(lambda: publisher.connected)
        wire.cut()
        eventually(lambda: publisher.connections == 2)
        eventually(lambda: len(subscriber.messages) == 3)
        states = [one["state"] for one in subscriber.payloads(STATUS)]
    assert states == ["online", "offline", "online"]


def test_an_unusable_broker_is_told_and_logged_once(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path)
    with MqttPublisher(configure(broker.port), outbox, SystemClock()) as publisher:
        assert publisher.state == "connecting" or "not connected" in publisher.state
        eventually(lambda: publisher.state == "not connected: cannot be reached: Connection refused")
        time.sleep(0.5)  # some more attempts
        broker.start()
        eventually(lambda: publisher.state == "connected")
        broker.stop()
        eventually(lambda: "cannot be reached" in publisher.state)
    lines = [line.partition(": ")[2].partition(";")[0] for line in caplog.messages]
    assert lines[:2] == ["cannot be reached: Connection refused", "connected"]
    assert len(lines) == 3 and lines[2].startswith("connection lost")


def test_who_listens_and_is_no_broker_is_told(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "KEEPALIVE_S", 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        MqttPublisher(configure(silent.getsockname()[1]), outbox, SystemClock()) as publisher,
    ):
        eventually(lambda: "the broker does not answer" in publisher.state)


def test_home_assistant_is_told_of_three_sensors(broker: Broker, outbox: Outbox) -> None:
    validator = pytest.importorskip("jsonschema", reason="needs the dev extra").Draft202012Validator
    from edgeharfer.kiosk.topics import schema

    with (
        MqttPublisher(
            configure(broker.port, discovery=True), outbox, SystemClock(), version="1.0"
        ) as publisher,
        Subscriber(broker.port, "homeassistant/#") as subscriber,
    ):
        eventually(lambda: publisher.connected)
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
        with MqttPublisher(configure(broker.port, **login), outbox, SystemClock()) as publisher:
            eventually(lambda: "the broker refused the connection: Not authorized" in publisher.state)
        assert len(outbox) == 1
        login["password_file"] = str(tmp_path / "right")
        with MqttPublisher(configure(broker.port, **login), outbox, SystemClock()):
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
        with MqttPublisher(
            configure(broker.port, tls=True, ca_file=f"{tmp_path}/theirs.pem"), outbox, SystemClock()
        ) as publisher:
            eventually(lambda: "certificate cannot be verified: self-signed" in publisher.state)
        assert len(outbox) == 1
        with MqttPublisher(
            configure(broker.port, tls=True, ca_file=f"{tmp_path}/ours.pem"), outbox, SystemClock()
        ):
            eventually(lambda: len(outbox) == 0)


def test_a_password_of_systemd_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "mqtt-password").write_text("from systemd\nsecond line\n", encoding="utf-8")
    assert read_password("/nowhere", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from systemd"
    with pytest.raises(ConfigError, match="password_file"):
        read_password(str(tmp_path / "gone"), {})

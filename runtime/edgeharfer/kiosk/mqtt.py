"""Publishes the events of the outbox by MQTT, in a thread of its own that alone uses the connection.

The retained status can be overwritten while the kiosk works: by the last will of an older connection that
the broker closes late, or by another kiosk of the same name. So the kiosk subscribes to its own status topic,
and publishes "online" again when it receives anything else there. Received messages have no other effect.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.discovery import discovery_messages
from edgeharfer.kiosk.outbox import ID_BYTES, Outbox
from edgeharfer.kiosk.topics import Topics, status_payload, to_json
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import ConfigError, SinkError

MAX_IN_FLIGHT = 100
"""Most unacknowledged events; they are deleted from the outbox together."""
LOOP_S = 0.05  # longest wait of the network loop, and so of an event before it is sent
KEEPALIVE_S = 3
"""A dead link is noticed after twice this time here, and after 1.5 times by the broker."""
CONNECT_TIMEOUT_S = 1.0
"""Of one attempt, which nothing ends sooner: a stop has to wait for it. The next one follows."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0
CORRECTION_INTERVAL_S = 1.0
"""Shortest time between two corrections of the retained status."""
STATUS_REPEAT_S = 8.0
"""Where the broker does not let the kiosk read its status, it is published again so often."""
ONLINE = b'"online"'
SHORT_CONNECTION_S, MAX_SHORT_CONNECTIONS = 10.0, 5
"""So many connections in a row that end so soon are taken for two clients with one id."""
SHUTDOWN_S = 0.6
EXPIRE_INTERVAL_S = 3600.0

_log = logging.getLogger(__name__)


class MqttPublisher(Closing):
    """Connects, publishes the events of the outbox, and deletes those that the broker has acknowledged.

    Leaving the `with` block publishes "offline", ends the connection and joins the thread.
    """

    def __init__(self, config: KioskConfig, outbox: Outbox, clock: Clock, *, version: str = "") -> None:
        self.connected = False
        self.connections = 0
        self.state = "connecting"
        """"connected", or why not, in words."""
        self._config, self._outbox, self._clock, self._version = config, outbox, clock, version
        self._topics = Topics(config)
        self._in_flight: dict[int, int] = {}
        self._acknowledged: list[int] = []
        self._failing = False
        self._logged = ""
        self._failure = ""
        self._short_connections = 0
        self._status_read, self._status_wrong, self._leaving = False, False, False
        self._status_s = 0.0
        self._stopping = threading.Event()
        self._expired_s: float | None = None
        self._client = self._make_client(outbox.client_id())
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _make_client(self, name: str) -> Client:
        """name: the same after a restart, so that the broker ends a connection that the restart left open."""
        mqtt = self._config.mqtt
        name = f"edgeharfer-{self._config.site.name}-{name}"
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv311)
        if mqtt.username:
            client.username_pw_set(mqtt.username, read_password(mqtt.password_file))
        if mqtt.tls:
            set_tls(client, mqtt.ca_file)
        client.will_set(self._topics.status, _status("offline", "connection lost"), qos=1, retain=True)
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self._on_message
        return client

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            before = self.connections
            self._expire()
            start_s = self._clock.monotonic()
            self._run_connection()
            self._count_short_connections(
                self.connections > before and self._clock.monotonic() - start_s < SHORT_CONNECTION_S
            )
            pause_s = FIRST_PAUSE_S if self.connections > before else min(2 * pause_s, MAX_PAUSE_S)
            self._stopping.wait(pause_s)
        self._detach_callbacks()

    def _detach_callbacks(self) -> None:
        """Break the reference cycle, so that the client and its sockets are freed at once."""
        self._client.on_connect = self._client.on_disconnect = None
        self._client.on_publish = self._client.on_message = None

    def _count_short_connections(self, short: bool) -> None:
        """Use a random client id, until the next start, after some short connections in a row.

        Two kiosks with the same id, as copies of one disk have it, end each other's connections. What was
        not acknowledged is still in the outbox and is sent again.
        """
        self._short_connections = self._short_connections + 1 if short else 0
        if self._short_connections < MAX_SHORT_CONNECTIONS or self._stopping.is_set():
            return
        _log.warning(
            "mqtt %s: cut off again and again; using a random client id until the next start", self._address
        )
        self._short_connections = 0
        self._detach_callbacks()
        self._in_flight.clear()
        self._client = self._make_client(secrets.token_hex(ID_BYTES))

    def _run_connection(self) -> None:
        """One connection, from its beginning to its end."""
        mqtt = self._config.mqtt
        self._failure = ""
        try:
            self._client.connect(mqtt.host, mqtt.port, KEEPALIVE_S)
        except (OSError, UnicodeError) as error:
            self._fail(*describe_error(error))
            return
        while not self._stopping.is_set():
            if self._client.loop(LOOP_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.connected = False
                return
            self._transfer()
        self._publish_offline()

    def _transfer(self) -> None:
        if not self.connected:
            return
        self._correct_status()
        try:
            self._delete_acknowledged()
            if not self._in_flight:
                self._send()
            self._failing = False
        except SinkError as error:  # what cannot be deleted now is deleted, or sent again, later
            self._log_failure(error)
        self._expire()

    def _expire(self) -> None:
        """Delete what is too old, whether the broker is there or not."""
        now_s = self._clock.monotonic()
        if self._expired_s is not None and now_s - self._expired_s < EXPIRE_INTERVAL_S:
            return
        self._expired_s = now_s
        try:
            self._outbox.expire()
        except SinkError as error:
            self._log_failure(error)

    def _log_failure(self, error: SinkError) -> None:
        if not self._failing:
            _log.warning("%s", error)
        self._failing = True

    def _send(self) -> None:
        for message in self._outbox.oldest(MAX_IN_FLIGHT):
            self._in_flight[self._client.publish(message.topic, message.payload, qos=1).mid] = message.seq

    def _delete_acknowledged(self) -> None:
        if self._acknowledged and not self._in_flight:
            self._outbox.remove(self._acknowledged)
            self._acknowledged = []

    def _publish_offline(self) -> None:
        """Send the remaining events, within a time limit, then publish that the kiosk was stopped."""
        self._leaving = True
        if self.connected:
            until_s = self._clock.monotonic() + SHUTDOWN_S
            self._loop_until(self._all_sent, until_s, transfer=True)
            last = self._client.publish(
                self._topics.status, _status("offline", "stopped"), qos=1, retain=True
            )
            self._loop_until(last.is_published, until_s + SHUTDOWN_S / 2, transfer=False)
        if self._client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._client.loop(LOOP_S)

    def _all_sent(self) -> bool:
        return not self._in_flight and not self._outbox.oldest(1)

    def _loop_until(self, done: Callable[[], bool], until_s: float, *, transfer: bool) -> None:
        while not done() and self._clock.monotonic() < until_s:
            if self._client.loop(LOOP_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if transfer:
                self._transfer()

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._fail("refused", f"the broker refuses: {code}; check mqtt.username and its password")
            return
        self.connected, self.state = True, "connected"
        self.connections += 1
        if self._logged:
            _log.warning("mqtt %s: connected", self._address)
            self._logged = ""
        self._publish_online()
        self._status_read = False
        client.subscribe(self._topics.status, qos=1)
        if self._config.mqtt.discovery:
            for topic, payload in discovery_messages(self._config, self._version):
                client.publish(topic, to_json(payload), qos=1, retain=True)

    def _on_disconnect(
        self,
        client: Client,
        data: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self.connected and not self._leaving:
            self._fail("away", f"connection lost: {code}")
        elif not self._leaving and not self._failure:
            self._fail("silent", f"the broker does not answer: {code}; check mqtt.port and mqtt.tls")
        self.connected = False

    def _on_publish(
        self, client: Client, data: Any, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        seq = self._in_flight.pop(mid, None)  # None: a status or a discovery message
        if seq is not None:
            self._acknowledged.append(seq)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        """Only the status topic is subscribed to."""
        self._status_read = True
        self._status_wrong = ONLINE not in message.payload

    def _correct_status(self) -> None:
        if self._leaving or (self._status_read and not self._status_wrong):
            return
        pause_s = CORRECTION_INTERVAL_S if self._status_wrong else STATUS_REPEAT_S
        if self._clock.monotonic() - self._status_s >= pause_s:
            self._publish_online()

    def _publish_online(self) -> None:
        self._status_s, self._status_wrong = self._clock.monotonic(), False
        self._client.publish(self._topics.status, _status("online", "running"), qos=1, retain=True)

    @property
    def _address(self) -> str:
        return f"{self._config.mqtt.host}:{self._config.mqtt.port}"

    def _fail(self, kind: str, reason: str) -> None:
        """No connection: always shown by /readyz, and logged when its kind changes."""
        self._failure, self.state = reason, f"not connected: {reason}"
        if kind != self._logged:
            _log.warning("mqtt %s: %s; events are kept and sent later", self._address, reason)
        self._logged = kind


def describe_error(error: OSError | UnicodeError) -> tuple[str, str]:
    """The kind of a failed connection, and the reason in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate", (
            f"the broker's certificate is not accepted: {error.verify_message}; check mqtt.ca_file, "
            "mqtt.host and the clock"
        )
    if isinstance(error, ssl.SSLError):
        return "tls", f"no TLS connection: {error.reason or error}; check mqtt.port and tls"
    return "away", f"cannot be reached: {getattr(error, 'strerror', None) or error}"


def read_password(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """The first line of what systemd hands over (LoadCredential), else of the file itself."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, "mqtt-password") if folder else Path(path)
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: mqtt.password_file cannot be read: {error}") from error


def set_tls(client: Client, ca_file: str) -> None:
    """Accept only a broker whose certificate is signed by these authorities for its name."""
    try:
        client.tls_set(ca_certs=ca_file or None)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{ca_file or 'the system authorities'}: mqtt.ca_file cannot be used: {error}"
        ) from error


def _status(state: str, reason: str) -> bytes:
    return to_json(status_payload(state, reason))

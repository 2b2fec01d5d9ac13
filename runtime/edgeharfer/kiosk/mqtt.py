"""Publishes the events of the outbox by MQTT, in a thread of its own.

The retained status can be overwritten while the kiosk is online: by the last will of an older connection
that the broker closes late, or by another kiosk with the same name. The kiosk therefore subscribes to its own
status topic and publishes "online" again when it receives anything else. Received messages have no other
effect.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_IN_FLIGHT = 100
"""Most unacknowledged events; they are deleted from the outbox together."""
LOOP_S = 0.05
"""Longest wait of the network loop, and so the longest delay of an event."""
KEEPALIVE_S = 3
"""A dead connection is detected after twice this time here, and after 1.5 times by the broker."""
CONNECT_TIMEOUT_S = 1.0
"""Timeout of one connection attempt. It cannot be interrupted, so stopping may take as long."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0
CORRECTION_INTERVAL_S = 1.0
"""Shortest time between two corrections of the retained status."""
STATUS_REPEAT_S = 8.0
"""Interval for publishing the status again if the broker does not allow the kiosk to read it."""
ONLINE = b'"online"'
SHORT_CONNECTION_S, MAX_SHORT_CONNECTIONS = 10.0, 5
"""This many consecutive connections that end this soon indicate two clients with the same id."""
SHUTDOWN_S = 0.6
EXPIRE_INTERVAL_S = 3600.0

_log = logging.getLogger(__name__)


class MqttPublisher(Closing):
    """Connects, publishes the events of the outbox, and deletes those that the broker has acknowledged.

    Leaving the `with` block publishes "offline", disconnects and joins the thread.

    Args:
        config: The kiosk's configuration.
        outbox: The events to publish.
        clock: The clock.
        version: Version of edgeharfer, for discovery.

    Attributes:
        connected: Whether the broker has accepted the connection.
        connections: Number of connections so far.
        state: "connected", or why it is not connected.

    Raises:
        ConfigError: The password or CA file cannot be used.
        SinkError: The outbox cannot be read.
    """

    def __init__(self, config: KioskConfig, outbox: Outbox, clock: Clock, *, version: str = "") -> None:
        self.connected = False
        self.connections = 0
        self.state = "connecting"
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
        """Create the client.

        Args:
            name: Client id; the same one after a restart, so that the broker closes the old connection.
        """
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
        """After several short connections in a row, use a random client id until the next start.

        Two kiosks with the same id, such as copies of one disk, close each other's connections.
        Unacknowledged events are still in the outbox and are sent again.
        """
        self._short_connections = self._short_connections + 1 if short else 0
        if self._short_connections < MAX_SHORT_CONNECTIONS or self._stopping.is_set():
            return
        _log.warning(
            "mqtt %s: the broker keeps closing the connection; using a random client id until the next start",
            self._address,
        )
        self._short_connections = 0
        self._detach_callbacks()
        self._in_flight.clear()
        self._client = self._make_client(secrets.token_hex(ID_BYTES))

    def _run_connection(self) -> None:
        """Connect, and transfer events until the connection or the service ends."""
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
        except SinkError as error:  # events that are not deleted are sent again
            self._log_failure(error)
        self._expire()

    def _expire(self) -> None:
        """Delete events that are too old, whether or not there is a connection."""
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
            advice = "check mqtt.username and mqtt.password_file"
            self._fail("refused", f"the broker refused the connection: {code}; {advice}")
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
        """Check the status; no other topic is subscribed to."""
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
        """Record a connection failure; it is logged when its kind changes."""
        self._failure, self.state = reason, f"not connected: {reason}"
        if kind != self._logged:
            _log.warning("mqtt %s: %s; events are stored and sent later", self._address, reason)
        self._logged = kind


def describe_error(error: OSError | UnicodeError) -> tuple[str, str]:
    """The kind of a connection failure, and a message."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate", (
            f"the broker's certificate cannot be verified: {error.verify_message}; check mqtt.ca_file, "
            "mqtt.host and the clock"
        )
    if isinstance(error, ssl.SSLError):
        return "tls", f"TLS handshake failed: {error.reason or error}; check mqtt.port and mqtt.tls"
    return "away", f"cannot be reached: {getattr(error, 'strerror', None) or error}"


def read_password(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read the password: the first line of systemd's credential, or of the file without one.

    Args:
        path: The file, as configured.
        environment: The environment variables.

    Raises:
        ConfigError: The file cannot be read.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, "mqtt-password") if folder else Path(path)
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: mqtt.password_file cannot be read: {error}") from error


def set_tls(client: Client, ca_file: str) -> None:
    """Enable TLS with certificate and host name verification.

    Args:
        client: The client.
        ca_file: CA certificates; "" for those of the system.

    Raises:
        ConfigError: The CA file cannot be used.
    """
    try:
        client.tls_set(ca_certs=ca_file or None)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{ca_file or 'the system CA certificates'}: mqtt.ca_file cannot be used: {error}"
        ) from error


def _status(state: str, reason: str) -> bytes:
    return to_json(status_payload(state, reason))

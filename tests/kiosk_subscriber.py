"""An independent MQTT client that gathers what the broker hands on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 60.0


class Subscriber:
    """Listens with a session that the broker keeps, and gathers what comes."""

    def __init__(self, port: int, topic: str = "#", *, name: str = "subscriber", **login: str) -> None:
        self.messages: list[MQTTMessage] = []
        self.subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
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

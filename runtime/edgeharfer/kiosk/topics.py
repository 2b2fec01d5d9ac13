"""MQTT topics and payloads, as described by the JSON schemas in the folder `schemas`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import resources
from typing import Any

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.decisions import Event
from edgeharfer.runtime.strict_json import compact_json


class Topics:
    """The MQTT topics of one site."""

    def __init__(self, config: KioskConfig) -> None:
        self.base = f"{config.mqtt.prefix}/{config.site.name}"
        self.status = f"{self.base}/status"

    def event(self, kind: str) -> str:
        """The topic for events of a task."""
        return f"{self.base}/event/{kind}"


def event_payload(
    event: Event, person: str | None, now_s: float, wall_s: float, source: str = ""
) -> dict[str, Any]:
    """The payload of an event.

    Args:
        event: The event.
        person: Random name of the person; None for the scene.
        now_s: The current presentation time of the source.
        wall_s: The same moment in wall-clock time.
        source: Name of the source if there are several.
    """
    ended = None if event.end_s is None else _stamp(wall_s - (now_s - event.end_s))
    return {
        "kind": "event",
        "id": event.id,
        "decision": event.decision,
        **({"source": source} if source else {}),
        "type": event.kind,
        "phase": event.phase,
        "label": event.label,
        "person": person,
        "started": _stamp(wall_s - (now_s - event.start_s)),
        "ended": ended,
        "duration_s": None if event.duration_s is None else round(event.duration_s, 3),
        "mean_score": round(event.mean_score, 4),
        "delay_s": round(event.delay_s, 3),
        "reason": event.reason,
    }


def interrupted_payload(start: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of the end of a decision whose process was killed, without the unknown end time.

    Args:
        start: Payload of the start event.
    """
    return {
        **start,
        "id": f"{start['decision']}-end",
        "phase": "end",
        "ended": None,
        "duration_s": None,
        "delay_s": 0.0,
        "reason": "process ended",
    }


def status_payload(state: str, reason: str) -> dict[str, Any]:
    """The payload of the status: "online" or "offline", and the reason."""
    return {"kind": "status", "state": state, "reason": reason}


def to_json(payload: Mapping[str, Any]) -> bytes:
    """Encode a payload as compact ASCII JSON."""
    return compact_json(payload).encode("ascii")


def schema(name: str) -> dict[str, Any]:
    """Load the JSON schema (2020-12) of a payload: "event", "status" or "discovery"."""
    file = resources.files(__package__) / "schemas" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def _stamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")

"""Home Assistant's MQTT discovery: announces the kiosk's sensors.

The keys are defined at https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.topics import Topics
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.tasks import DEFAULT_ICON, EXTRA_TASKS, PACKAGE_TASKS, TASKS

_log = logging.getLogger(__name__)

_LABEL = "{{ value_json.label if value_json.phase == 'start' else 'none' }}"
_ONLINE = "{{ value_json.state }}"


def discovery_messages(config: KioskConfig, version: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Topic and payload of the retained discovery message of each sensor."""
    topics, node = Topics(config), f"edgeharfer_{config.site.name}"
    device = {
        "identifiers": [node],
        "name": f"edgeharfer {config.site.name}",
        "manufacturer": "edgeharfer",
        "model": "kiosk",
        "sw_version": version,
    }
    common = {
        "device": device,
        "availability_topic": topics.status,
        "availability_template": _ONLINE,
        "qos": 1,
    }
    for kind, icon in _labelled_tasks(config):
        yield (
            f"{config.mqtt.discovery_prefix}/sensor/{node}/{kind}/config",
            {
                **common,
                "name": kind.capitalize(),
                "unique_id": f"{node}_{kind}",
                "icon": icon,
                "state_topic": topics.event(kind),
                "value_template": _LABEL,
                "json_attributes_topic": topics.event(kind),
            },
        )
    yield (
        f"{config.mqtt.discovery_prefix}/binary_sensor/{node}/online/config",
        {
            "device": device,
            "qos": 1,
            "name": "Online",
            "unique_id": f"{node}_online",
            "device_class": "connectivity",
            "state_topic": topics.status,
            "value_template": _ONLINE,
            "payload_on": "online",
            "payload_off": "offline",
        },
    )


def _labelled_tasks(config: KioskConfig) -> Iterator[tuple[str, str]]:
    """Name and icon of each enabled task with labels."""
    for name in PACKAGE_TASKS:
        if getattr(config.models, name) != "off":
            yield name, TASKS[name].icon
    for task in config.models.tasks:
        if task in EXTRA_TASKS:
            name, gives_labels, icon = task, TASKS[task].gives == "classes", TASKS[task].icon
        else:
            try:
                manifest = load_package(task).manifest
            except ModelError as error:  # the package was removed after the service started
                _log.warning("discovery: %s", error)
                continue
            name, gives_labels, icon = manifest.task, bool(manifest.labels), DEFAULT_ICON
        if gives_labels:
            yield name, icon

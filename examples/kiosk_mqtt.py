"""A kiosk with MQTT

The kiosk publishes decisions: a label that has lasted for a while has begun or ended. This script starts a
kiosk on the demo, subscribes to its events and prints them. With Home Assistant, the same broker is enough:
the kiosk announces itself, and three sensors appear.

The arguments are the host and port of a broker, such as mosquitto on this machine: `localhost 1883`.
"""

import json
import subprocess
import sys
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

HOST, PORT, SECONDS = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "20"
CONFIG = f"""
[site]
name = "demo"
[source]
source = "demo"
[screen]
view = "none"
[health]
port = 0
[decisions]
min_duration_s = 0.5
[privacy]
notice_required = false     # only because the demo shows nobody real
[mqtt]
host = "{HOST}"
port = {PORT}
"""


def show(client: Client, userdata: object, message: MQTTMessage) -> None:
    """Print an event."""
    event = json.loads(message.payload)
    print(message.topic, event["phase"], event["label"], flush=True)


Path("out/kiosk-state").mkdir(parents=True, exist_ok=True)
Path("out/kiosk.toml").write_text(CONFIG, encoding="utf-8")
client = Client(CallbackAPIVersion.VERSION2)
client.on_message = show
client.connect(HOST, PORT)
client.subscribe("edgeharfer/demo/event/+", qos=1)
client.loop_start()
paths = ["--config", "out/kiosk.toml", "--state", "out/kiosk-state"]
subprocess.run(
    [sys.executable, "-m", "edgeharfer", "kiosk", "run", *paths, "--duration", SECONDS], check=True
)
client.loop_stop()

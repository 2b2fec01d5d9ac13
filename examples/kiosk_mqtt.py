"""A kiosk with MQTT and Home Assistant

The kiosk publishes decisions: a label that has lasted for a while has begun or ended. This script starts a
kiosk on the demo, subscribes to what it publishes, and stops it after a few messages.

Home Assistant needs no configuration: connect its MQTT integration to the same broker. The kiosk announces
its sensors below `homeassistant/`, and they appear as a device.

The arguments are the host and port of a broker, such as mosquitto on this machine: `localhost 1883`.

It needs `pip install '.[cpu,kiosk]'`.
"""

import json
import queue
import subprocess
import sys
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

HOST, PORT, MESSAGES = sys.argv[1], int(sys.argv[2]), 5
CONFIG = f"""
[site]
name = "demo"
[source]
source = "demo"
[screen]
view = "none"
[health]
port = 0
[models]
action = "off"
[decisions]
min_duration_s = 0.2
[privacy]
notice_required = false     # only because the demo shows nobody real
[mqtt]
host = "{HOST}"
port = {PORT}
"""

received: queue.Queue[MQTTMessage] = queue.Queue()
client = Client(CallbackAPIVersion.VERSION2)
client.on_message = lambda client, userdata, message: received.put(message)
client.connect(HOST, PORT)
client.subscribe([("homeassistant/#", 1), ("edgeharfer/demo/event/+", 1)])
client.loop_start()

Path("out/kiosk-state").mkdir(parents=True, exist_ok=True)
Path("out/kiosk.toml").write_text(CONFIG, encoding="utf-8")
paths = ["--config", "out/kiosk.toml", "--state", "out/kiosk-state"]
kiosk = subprocess.Popen([sys.executable, "-m", "edgeharfer", "kiosk", "run", *paths])
try:
    for _ in range(MESSAGES):
        message = received.get(timeout=300)
        payload = json.loads(message.payload)
        print(message.topic, payload.get("name") or (payload["phase"], payload["label"]), flush=True)
finally:
    kiosk.terminate()
    kiosk.wait()
    client.loop_stop()

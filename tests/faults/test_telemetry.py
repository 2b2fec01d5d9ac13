"""ONNX Runtime reports to its maker from 1.29 on, unless it is told not to before it is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edgeharfer.runtime.inference.device_record import device_info

COMMAND = [sys.executable, "-B", "-c", "from edgeharfer.cli import main; main()"]
RUN = ["run", "--source", "demo", "--view", "none", "--max-frames", "1", "--action", "off"]


def test_a_run_leaves_no_number_of_this_machine_in_its_home(tmp_path: Path) -> None:
    """What it would report waits in a database there, beside a number that is made once for each machine."""
    quieter_in_tests = ("CI", "ORT_", "PYTEST", "GITHUB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(quieter_in_tests)}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    for place in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        environment.pop(place, None)
    subprocess.run([*COMMAND, *RUN], env=environment, check=True, timeout=120, capture_output=True)
    (record,) = (path for path in tmp_path.rglob("*") if path.is_file())
    content = json.loads(record.read_text(encoding="utf-8"))
    assert record.name == "compared.json" and set(content) == {"format", "device", "differences"}
    assert set(content["device"]) == {*device_info(), "products_saturate"}, "kinds of hardware and versions"

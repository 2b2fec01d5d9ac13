"""Run the tutorials in examples/ and store what they print in examples/output: python docs/outputs.py

The site shows it below each script, and tests/integration/test_examples.py compares it. `kiosk_mqtt` needs an
MQTT broker on this machine, such as mosquitto: --broker PORT.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NEEDS_BROKER = "kiosk_mqtt"


def main() -> None:
    """Run the given tutorials, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as webcam_loop; default: all")
    parser.add_argument("--broker", metavar="PORT", help="port of a broker on this machine")
    options = parser.parse_args()
    for path in sorted(EXAMPLES.glob("*.py")):
        if options.names and path.stem not in options.names:
            continue
        if path.stem == NEEDS_BROKER and not options.broker:
            print(f"{path.stem}: left out, because --broker is not given")
            continue
        arguments = ["127.0.0.1", options.broker] if path.stem == NEEDS_BROKER else []
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(path), *arguments]
            done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        (EXAMPLES / "output" / f"{path.stem}.txt").write_text(done.stdout.rstrip() + "\n", encoding="utf-8")
        print(path.stem, flush=True)


if __name__ == "__main__":
    main()

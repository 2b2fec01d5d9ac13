"""Ask the advisory services for known defects of everything that constraints.txt pins.

    python audit.py constraints.txt

Ends with 0 where all pins were asked for and none is known to be defective, 1 where one is, and 3 where the
services could not tell of some or all of them: silence is never taken for a good sign.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")


def ask(service: str, constraints: Path) -> list[dict[str, Any]] | None:
    """What one service knows of each pin, None where it cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run([*command, "--vulnerability-service", service], capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"{service}: cannot be asked from here: {why.partition(':')[0]}")
        return None
    return found


def main() -> int:
    constraints = Path(sys.argv[1])
    known: dict[str, dict[str, Any]] = {}
    silent: set[str] = set()
    for service in SERVICES:
        for one in ask(service, constraints) or []:
            if "vulns" in one:
                known.setdefault(one["name"], one)
            else:
                silent.add(one["name"])
        if known and not silent - known.keys():
            break
    defects = [(one, vuln) for one in known.values() for vuln in one["vulns"]]
    for one, vuln in defects:
        fixed = ", ".join(vuln["fix_versions"]) or "no version"
        print(f"{one['name']} {one['version']}: {vuln['id']}, fixed in {fixed}")
    untold = sorted(silent - known.keys())
    print(f"{len(known)} pins audited, {len(defects)} known defects, {len(untold)} pins without an answer")
    if defects:
        return 1
    if untold or not known:
        print("NOT AUDITED: run `make audit` where an advisory service can be reached")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

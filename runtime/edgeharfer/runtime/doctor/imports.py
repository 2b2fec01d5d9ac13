"""Import modules in a child process, so that a crash or hang is reported like an ordinary error."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from edgeharfer.runtime.child import Child, code_command

_CHILD = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
sys.modules["openvino_telemetry"] = None
for name in sys.argv[1:]:
    reason = None
    try:
        importlib.import_module(name)
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    print(json.dumps([name, reason]), file=answers, flush=True)
"""
"""What modules print is discarded. Without its telemetry module, OpenVINO uses a silent stand-in."""

_ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1", "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}


def try_imports(modules: Sequence[str], timeout_s: float) -> dict[str, str | None]:
    """Import modules in a child process.

    Args:
        modules: Names of the modules.
        timeout_s: Limit for all modules of one process. If a module terminates or hangs the process, the
            modules after it are imported in a new one.

    Returns:
        For each module, why it cannot be imported, or None if it can.
    """
    reasons: dict[str, str | None] = {}
    rest = list(modules)
    while rest:
        done, ending = _import_all(rest, timeout_s)
        reasons |= done
        rest = [module for module in rest if module not in done]
        if rest:
            reasons[rest.pop(0)] = ending
    return reasons


def _import_all(modules: Sequence[str], timeout_s: float) -> tuple[dict[str, str | None], str]:
    """Return the results that a child process reported, and how it ended."""
    command = code_command(_CHILD, *modules)
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, environment=_ENVIRONMENT) as child:
        try:
            answers, _ = child.process.communicate(timeout=timeout_s)
            ending = f"the import terminated the process with exit code {child.process.returncode}"
        except subprocess.TimeoutExpired:
            child.process.kill()
            answers, _ = child.process.communicate()
            ending = f"the import did not finish within {timeout_s:g} s"
    lines = answers.decode("utf-8").splitlines()
    return dict(json.loads(line) for line in lines if line.endswith("]")), ending

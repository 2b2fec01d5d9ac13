"""Everything that a GPU can show, in under 8 minutes and one JSON file.

    python .ci/gpu_check.py [--json FILE] [--python PYTHON]

PYTHON is that of an environment with edgeharfer[gpu] (and the dev extra, for the tests). Each step has a time
limit; one that cannot run is in the file with its reason. Without an NVIDIA GPU it says so and exits with 3;
if a step failed or did not end in time, with 1.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 470.0
"""Time for all steps together."""
PROVIDERS = ("cuda", "tensorrt", "tensorrt-rtx")
PROBE = """
import json
from edgeharfer.runtime.inference.providers import probe_providers
print(json.dumps(probe_providers()))
"""
SUITE = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests")
SWAP = """
import subprocess, sys
from importlib.metadata import version
pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
gpu = version("onnxruntime-gpu")
def provider():
    code = "from edgeharfer.runtime.inference import providers; print(providers.probe_providers()['cuda'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
before = provider()
subprocess.run([*pip, "uninstall", "--yes", "onnxruntime-gpu"], check=True)
try:
    subprocess.run([*pip, "install", "--no-deps", f"onnxruntime=={gpu}"], check=True)
    without = provider()
    subprocess.run([*pip, "uninstall", "--yes", "onnxruntime"], check=True)
finally:
    subprocess.run([*pip, "install", "--no-deps", f"onnxruntime-gpu=={gpu}"], check=True)
after = provider()
print(f"before: {before}; with the CPU build: {without}; after: {after}")
sys.exit(not (before == after == "None" != without))
"""
"""The CPU build takes the place of the GPU build, and the other way round; "None" where CUDA loads."""


@dataclass(frozen=True)
class Step:
    """One thing to run.

    Attributes:
        name: Name in the file.
        limit_s: Time limit in seconds.
        arguments: Arguments of the environment's Python.
        provider: The provider that must load, "" for none.
        figures: JSON file that the step writes, None if it prints JSON or nothing.
    """

    name: str
    limit_s: float
    arguments: Sequence[str | Path]
    provider: str = ""
    figures: Path | None = None


def steps(folder: Path) -> list[Step]:
    """All steps, those first that every GPU can do."""
    cli = ("-m", "edgeharfer")
    parity = Path(__file__).with_name("gpu_parity.py")
    table, stats = folder / "benchmark.json", folder / "run.json"
    job = ("run", "--source", "demo", "--view", "none", "--events", folder / "events.jsonl")
    return [
        Step("doctor", 60, (*cli, "doctor")),
        Step("parity on cuda", 60, (parity, "cuda"), "cuda"),
        Step("parity on tensorrt-rtx", 60, (parity, "tensorrt-rtx"), "tensorrt-rtx"),
        Step(
            "end to end",
            40,
            (*cli, *job, "--duration", "15", "--provider", "cuda", "--stats", stats),
            "cuda",
            stats,
        ),
        Step("tests", 120, SUITE, "cuda"),
        Step("benchmark", 90, (*cli, "benchmark", "--provider", "cpu,cuda", "--json", table), "cuda", table),
        Step("parity on tensorrt", 180, (parity, "tensorrt"), "tensorrt"),
        Step("swap of wheels", 90, ("-c", SWAP), "cuda"),
    ]


def gpu_name(root: Path = Path("/")) -> str | None:
    """The NVIDIA GPU of this machine: what nvidia-smi says, or the board of a Jetson."""
    if shutil.which("nvidia-smi") is not None:
        words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        if said.returncode == 0 and said.stdout.strip():
            return said.stdout.strip().splitlines()[0]
    if (root / "etc/nv_tegra_release").exists():
        return (root / "proc/device-tree/model").read_text(encoding="utf-8").strip("\0\n ")
    return None


def run_step(step: Step, python: str, why_not: Mapping[str, str | None], left_s: float) -> dict[str, Any]:
    """Run a step, and return what belongs in the file."""
    entry: dict[str, Any] = {"name": step.name, "limit_s": step.limit_s}
    unknown = f"{step.provider} is not among the providers that this system can have"
    if step.provider and (lack := why_not.get(step.provider, unknown)):
        return {**entry, "state": "not run", "reason": lack}
    limit_s = min(step.limit_s, left_s)
    if limit_s <= 1:
        return {**entry, "state": "not run", "reason": "no time was left"}
    start_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = run_limited([python, *step.arguments], output, errors, limit_s)
        output.seek(0)
        errors.seek(0)
        printed, complaint = output.read().strip(), errors.read().strip()
    entry["seconds"] = round(time.monotonic() - start_s, 1)
    if code is None:
        return {**entry, "state": "out of time", "reason": f"not done after {limit_s:.0f} s"}
    if code:
        reason = (complaint or printed).splitlines()[-5:]
        return {**entry, "state": "failed", "exit_code": code, "reason": "\n".join(reason)}
    return {**entry, "state": "ok", "figures": figures_of(step, printed)}


def run_limited(
    command: Sequence[str | Path], output: IO[str], errors: IO[str], limit_s: float
) -> int | None:
    """The exit code of a command; None if it was killed, with the processes it started, at the limit."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors, start_new_session=True)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def figures_of(step: Step, output: str) -> Any:
    """The JSON that a step wrote or printed, else its lines."""
    text = step.figures.read_text(encoding="utf-8") if step.figures else output
    try:
        return json.loads(text)
    except ValueError:
        return text.splitlines()


def probe(python: str, left_s: float) -> dict[str, str | None]:
    """Why each provider does not load, None for those that do."""
    done = subprocess.run(
        [python, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, timeout=left_s, check=False
    )
    if done.returncode:
        sys.exit(f"gpu-check: {python} has no edgeharfer that works: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, str | None] = json.loads(done.stdout)
    return answer


def main(arguments: Sequence[str] | None = None, find_gpu: Callable[[], str | None] = gpu_name) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=ROOT / "dist" / "gpu-check.json", metavar="FILE")
    parser.add_argument("--python", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args(arguments)
    gpu = find_gpu()
    if gpu is None:
        print("gpu-check: no NVIDIA GPU was found (nvidia-smi names none; no Jetson)", file=sys.stderr)
        return 3
    end_s = time.monotonic() + LIMIT_S
    why_not = probe(options.python, LIMIT_S)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for step in steps(Path(folder)):
            found.append(run_step(step, options.python, why_not, end_s - time.monotonic()))
            print(f"{found[-1]['state']:12} {step.name}  {found[-1].get('reason', '')}", flush=True)
    result = {"gpu": gpu, "machine": platform.platform(), "providers": why_not, "steps": found}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {options.json}")
    return int(any(entry["state"] in ("failed", "out of time") for entry in found))


if __name__ == "__main__":
    sys.exit(main())

"""Faults of the process, its disk, memory, models and clock."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from edgeharfer.chaos.fault import Fault, FaultEnvironment, FaultNotApplicable
from edgeharfer.chaos.supervised import RecoveryError, WatchedRun
from edgeharfer.runtime.inference.package import shipped_packages
from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.tasks import PACKAGE_TASKS

DISK_BYTES = 1 << 20
PARTIAL_LINE = b'{"kind":"result","seq":'
REFUSED = 2
START_LIMIT_S = 15.0
"""Maximum start-up time on a small machine, for imports and models."""
HOUR_S, TEN_YEARS_S = 3600.0, 3.1557e8

_SMALL_DISK = 'mount -t tmpfs -o size="$1" edgeharfer "$2" && shift 2 && exec "$@"'

# Shifts the wall clock of the process by the offset in a file.
_SHIFTED_CLOCK = """
import pathlib, time
_real, _file = time.time, pathlib.Path({path!r})
time.time = lambda: _real() + float(_file.read_text())
"""

# Limits the address space to 20 MB more than the code itself needs.
_LITTLE_MEMORY = """
import pathlib, resource
import cv2
import edgeharfer.cli.run
from edgeharfer.runtime.inference.providers import probe_providers
probe_providers()
_pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (_pages * resource.getpagesize() + 20 * 2**20,) * 2)
"""


def stop(env: FaultEnvironment) -> float:
    """Send SIGTERM; return the time until the process has exited with complete events."""
    with env.run() as run:
        stopped_s = run.stop()
        if not run.count("summary"):
            raise RecoveryError("the run ended without a summary event")
        return stopped_s


def kill(env: FaultEnvironment) -> float:
    """Kill the process while it writes a line, then start it with the same file."""
    with env.run() as run:
        run.process.send_signal(signal.SIGKILL)
        run.process.wait()
        written = run.count("result")
    complete = env.events.read_bytes().rpartition(b"\n")[0] + b"\n"
    env.events.write_bytes(complete + PARTIAL_LINE)
    with env.run() as again:
        again.stop()
    if not env.events.read_bytes().startswith(complete) or again.count("result") <= written:
        raise RecoveryError("events written before are lost")
    return again.first_s


def full_disk(env: FaultEnvironment) -> float:
    """Fill the disk of the events, then free it; return the time until the next event."""
    disk = env.folder / "disk"
    disk.mkdir(exist_ok=True)
    with FaultEnvironment(disk, env.server, env.options).run(wrapper=small_disk(disk)) as run:
        ballast = run.visible_path(disk / "ballast")
        fill(ballast)
        run.wait_for(lambda: "No space left" in run.stderr, "message on the full disk", 10.0)
        ballast.unlink()
        recovered_s = run.wait_for_result("event after the disk was freed")
        run.wait_for(lambda: "results were missed" in run.stderr, "message on the missed results", 10.0)
        return recovered_s


def small_disk(disk: Path) -> list[str]:
    """A command prefix that runs a command with a small file system mounted at `disk`.

    Raises:
        FaultNotApplicable: File systems cannot be mounted here.
    """
    spaces = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["sh", "-c", _SMALL_DISK, "sh", str(DISK_BYTES), str(disk)]
    try:
        for unshare in (spaces, ["unshare", "--mount"]):
            if subprocess.run([*unshare, *mount, "true"], capture_output=True, check=False).returncode == 0:
                return [*unshare, *mount]
    except FileNotFoundError:
        raise FaultNotApplicable(
            "`unshare` is not installed (util-linux), so no small disk can be mounted"
        ) from None
    raise FaultNotApplicable("mounting a file system is not permitted; try as root")


def fill(ballast: Path) -> None:
    """Write to a file until the disk is full."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    continue


def clock(env: FaultEnvironment) -> float:
    """Set the wall clock of the process five times; return the longest time without a result."""
    offset_file = env.folder / "offset"
    offset_file.write_text("0")
    offsets_s = (HOUR_S, -HOUR_S, TEN_YEARS_S, -TEN_YEARS_S, -env.clock.wall())
    worst_s = 0.0
    with env.run(prelude=_SHIFTED_CLOCK.format(path=str(offset_file))) as run:
        for count, offset_s in enumerate(offsets_s, 1):
            with replaced_file(offset_file) as new:  # atomically, since the process reads it
                new.write_text(str(offset_s))
            worst_s = max(worst_s, run.wait_for_result(), run.wait_for_result())
            run.wait_for(partial(jumps_reported, run, count), "event on the clock jump", 5.0)
    seqs = [row["seq"] for row in run.rows if row["kind"] == "result"]
    if seqs != sorted(set(seqs)):
        raise RecoveryError("the results are out of order")
    return worst_s


def jumps_reported(run: WatchedRun, count: int) -> bool:
    """Whether the events report `count` clock jumps."""
    return run.count("clock") == count


def flipped_bit(env: FaultEnvironment) -> float:
    """Flip one bit of a model on disk; return the time until the package is rejected."""
    package = next((one for one in shipped_packages() if one.manifest.task in PACKAGE_TASKS), None)
    if package is None:
        raise FaultNotApplicable("no model package is installed")
    copy = shutil.copytree(package.path, env.folder / "flipped")
    for model in copy.glob("*.onnx"):
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    chosen = dict.fromkeys(PACKAGE_TASKS, "off") | {package.manifest.task: str(copy)}
    run = env.run(options=[word for task, name in chosen.items() for word in (f"--{task}", name)])
    ended_s, code = run.run_to_exit()
    if code != REFUSED or str(copy) not in run.last_line:
        raise RecoveryError(f"exit code {code}: {run.last_line}")
    return ended_s


def memory(env: FaultEnvironment) -> float:
    """Start with too little memory, which must end the run; return the time of a start with enough."""
    if not sys.platform.startswith("linux"):
        raise FaultNotApplicable("this system does not enforce memory limits")
    run = env.run(prelude=_LITTLE_MEMORY)
    _, code = run.run_to_exit()
    if code == 0 or len(run.stderr.splitlines()) > 1:
        raise RecoveryError(f"exit code {code}: {run.last_line}")
    with env.run() as again:
        return again.first_s


PROCESS_FAULTS = (
    Fault("stop", "SIGTERM while running", 2.0, stop),
    Fault("kill", "killed while writing a line, then restarted", START_LIMIT_S, kill),
    Fault("full-disk", "the disk of the events is full, then freed", 5.0, full_disk),
    Fault("memory", "too little memory, then restarted with enough", START_LIMIT_S, memory),
    Fault("clock", "wall clock set by an hour, by ten years and to 1970", 2.0, clock),
    Fault("flipped-bit", "one bit of a model has changed", START_LIMIT_S, flipped_bit),
)

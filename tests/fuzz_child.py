"""A process that reads whatever files it is told to, as the product does, and says how each went.

It says "ready" once. Then one JSON line in, {"kind", "path"}, gives one out, {"code", "message", "trace",
"cpu_s", "rss_kb"}: the exit code and the line that a person would get. Memory is limited; the parent looks
after time and crashes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeharfer.cli import run_command
from edgeharfer.kiosk.config import load_config
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.package import verify_package
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Frame

MEMORY = 2 << 30
FRAMES = 20


def use_package(path: Path) -> None:
    """Check a package, load it and let it answer once."""
    package = verify_package(path)
    gray = np.full((16, 16, 3), 90, np.uint8)
    if package.manifest.task == "emotion":
        EmotionModel(package).classify([gray])
    elif package.manifest.task == "action":
        model = ActionModel(package)
        features = model.encode(gray)
        model.classify(np.repeat(features[None, None], model.window.frames, axis=1))
        if (rolling := model.rolling()) is not None:
            rolling.push(features)


def use_source(path: Path) -> None:
    """Open a picture or film and look at its first frames."""
    with open_source(path) as source:
        for _ in range(FRAMES):
            if (frame := source.read()) is None:
                return
            assert frame.bgr.ndim == 3 and frame.bgr.dtype == np.uint8


def use_events(path: Path) -> None:
    """Go on writing where a run has ended."""
    with EventsSink(path) as sink:
        sink.write(Frame(9, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8)), Result(9, 0.0, 0.0), Status())
    assert path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].startswith(b'{"kind":"result","seq":9,')


def use_config(path: Path) -> None:
    here, view = path.parent, ["--view", "none", "--action", "off", "--emotion", "off"]
    outputs = ["--events", f"{here}/out.jsonl", "--save", f"{here}/out.mp4", "--stats", f"{here}/out.json"]
    command_line("run", "--config", str(path), "--source", sys.argv[1], *view, *outputs)


def use_recording(path: Path) -> None:
    packages = ["--emotion", sys.argv[2], "--action", sys.argv[3]]
    command_line("run", "--replay", str(path), "--view", "none", "--events", f"{path}.out", *packages)


def command_line(*arguments: str) -> None:
    """Run one; its last line on standard error becomes the error's message."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = run_command([*arguments, "--debug"])
    if code == 2:
        raise EdgeharferError(told.getvalue().splitlines()[-1])
    assert code == 0, told.getvalue()


USE: dict[str, Callable[[Path], object]] = {
    "graph": use_package,
    "package": use_package,
    "manifest": use_package,
    "config": use_config,
    "kiosk": load_config,
    "events": use_events,
    "recording": use_recording,
    "image": use_source,
    "video": use_source,
    # Whether the parent would notice.
    "crash": lambda path: os.abort(),
    "defect": lambda path: [][0],
}


def answer(kind: str, path: Path) -> dict[str, object]:
    """How one case went: 0 used, 2 refused, 1 a defect."""
    start_s = time.process_time()
    code, message, trace = 0, "", ""
    try:
        USE[kind](path)
    except EdgeharferError as error:
        code, message = error.exit_code, str(error)
    except Exception as error:
        code, message, trace = 1, f"{type(error).__name__}: {error}", traceback.format_exc()
    return {"code": code, "message": message, "trace": trace, "cpu_s": time.process_time() - start_s}


def main() -> None:
    """Serve until standard input ends. Native code gets no way to write into the answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write("ready\n")
    for line in sys.stdin:
        case = json.loads(line)
        found = answer(case["kind"], Path(case["path"]))
        answers.write(json.dumps({**found, "rss_kb": _rss_kb()}) + "\n")


def _rss_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


if __name__ == "__main__":
    main()

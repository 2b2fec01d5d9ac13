"""The process that looks at one upload; `jobs` starts it as `python -m edgeharfer.app.worker`.

An request comes in as one line of JSON, and what becomes of it goes out, one object a line: {"share": 0.4},
then {"done": true} or {"failed": "why"}. It ends when its input does: whoever asked for it has gone, or
has changed his mind. A file that makes a decoder crash or swell ends this process and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2

from edgeharfer.app.context import read_table
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.probe import check_length, check_picture, check_video
from edgeharfer.app.settings import MEGABYTE, UserLimits
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.strict_json import compact_json
from edgeharfer.runtime.tasks import PACKAGE_TASKS, TASKS

DIGEST = "digest.json"
PROGRESS_STEP = 0.01
NICENESS = 5
"""An upload waits rather than the live view."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What to do. file: the upload. still: a picture. folder: for the report. pipeline: as of `Settings`."""

    file: str
    still: bool
    folder: str
    fps: float
    pipeline: dict[str, Any] = field(default_factory=dict)
    signature_key: str | None = None
    messages: dict[str, str] = field(default_factory=dict)
    context: str | None = None
    limits: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """As one line."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"


class ProgressReporter:
    """Sends message, and knows whether anybody listens still."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._reported = -1.0

    def report(self, share: float) -> None:
        """How much is done, told in steps."""
        if share - self._reported >= PROGRESS_STEP:
            self._reported = share
            self.send({"share": round(share, 3)})

    def send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def analyze(
    request: AnalysisRequest, progress: Callable[[float], None], stopping: Callable[[], bool]
) -> bool:
    """Watch the upload and write its report and digest; False where it was stopped.

    Raises EdgeharferError where the upload cannot be read or is too large, MemoryError where it swells.
    """
    limits, path = UserLimits(**request.limits), Path(request.file)
    (check_picture if request.still else check_video)(path, limits)
    # Models and charts take a second or two to load, and what is refused need not wait for them.
    from edgeharfer.app.digest import ReportDigest
    from edgeharfer.app.models import load_intensity_estimator
    from edgeharfer.report.analyzer import Analyzer
    from edgeharfer.report.inputs import ReportTask, make_input
    from edgeharfer.report.job import ReportJob

    pipeline = {**request.pipeline, "backend": Backend(**request.pipeline.get("backend", {}))}
    if request.signature_key is not None:
        pipeline |= _signed_packages(request.pipeline, Path(request.signature_key))
    analyzer = Analyzer(fps=request.fps, **pipeline)
    analyzer.warm_up()
    limit_resources(limits)
    with open_source(path) as source:
        check_length(source, path, limits)
    folder = Path(request.folder)
    job = ReportJob(analyzer, duration_s=limits.video_s)
    written = job.analyze(ReportTask(make_input(str(path)), folder, "", False), progress, stopping)
    if written is None:
        return False
    reading = ReportDigest(
        load_intensity_estimator(pipeline),
        LikelyActions(read_table(_path(request.context))),
        request.messages,
    )
    digest = compact_json(reading.digest(written.report))
    (folder / DIGEST).write_text(digest, encoding="ascii")
    return True


def _signed_packages(pipeline: Mapping[str, Any], key: Path) -> dict[str, Package | None]:
    """The packages of these pipeline options, whose signatures are checked before anything else of them."""
    names = {task: pipeline.get(task, TASKS[task].package) for task in PACKAGE_TASKS}
    return {
        task: None if name is None else load_package(name, task, require_signature=key)
        for task, name in names.items()
    }


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def limit_resources(limits: UserLimits) -> None:
    """Bound memory and processor time where the system can: a small file may decode to a huge one."""
    try:
        import resource
    except ImportError:  # Windows
        return
    now = _memory_bytes()
    if now is not None:
        most = now + limits.memory_mb * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    cores = os.cpu_count() or 1
    seconds = int(limits.work_s) * cores
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _memory_bytes() -> int | None:
    """Address space in use; None where there is no /proc."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None


@contextlib.contextmanager
def redirected_output() -> Iterator[IO[str]]:
    """Standard output for the message alone; what libraries print goes devnull."""
    stdout = os.dup(1)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    with os.fdopen(stdout, "w", encoding="ascii") as out:
        yield out


def input_ended() -> bool:
    """Whether whoever asked has closed the line; it says nothing more after the request."""
    return os.name == "posix" and bool(select.select([sys.stdin.fileno()], [], [], 0)[0])


def read_line(descriptor: int) -> bytes:
    """One line, and not a byte of what may follow; empty where the input ends before it does."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(descriptor, 1 << 16)
        if not more:
            return b""
        line += more
    return line


def main() -> None:
    """Follow one request."""
    line = read_line(sys.stdin.fileno())
    if not line:
        return
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with redirected_output() as out:
        reporter = ProgressReporter(out)
        try:
            done = analyze(AnalysisRequest(**json.loads(line)), reporter.report, input_ended)
        except EdgeharferError as error:
            reporter.send({"failed": str(error)})
        except (MemoryError, cv2.error):
            reporter.send({"failed": "it cannot be decoded, or takes more memory than an analysis may"})
        except Exception as error:  # told where it can be seen
            reporter.send({"failed": f"a defect, please report it: {type(error).__name__}: {error}"})
        else:
            if done:
                reporter.send({"done": True})


if __name__ == "__main__":
    main()

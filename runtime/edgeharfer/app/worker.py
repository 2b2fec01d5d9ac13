"""The process that analyses one upload; `jobs` starts it as `python -m edgeharfer.app.worker`.

The request is one line of JSON on standard input. Messages go to standard output, one JSON object per line:
{"share": 0.4} for progress, then {"done": true} or {"failed": "reason"}. When standard input is closed, the
analysis is cancelled. A file that makes a decoder crash or run out of memory affects only this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2

from edgeharfer.app.context import read_table
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.probe import check_length, check_picture, check_video
from edgeharfer.app.settings import MEGABYTE, UserLimits
from edgeharfer.report.worker_io import MessageWriter, input_ended, read_line, redirected_output
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.decode_devices import AUTO
from edgeharfer.runtime.strict_json import compact_json
from edgeharfer.runtime.tasks import PACKAGE_TASKS, TASKS

DIGEST = "digest.json"
ANALYSIS_SHARE = 0.6
"""Share of the progress that is the analysis, where a video is written as well."""
NICENESS = 5
"""Lower priority than the live view."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What to analyse, and how.

    Attributes:
        file: The upload.
        still: Whether it is a picture.
        folder: Folder for the report.
        fps: Samples per second of a video.
        decode: Device that decodes it, see `open_source`.
        pipeline: Keyword arguments of `Pipeline`; packages by name or folder.
        signature_key: Public key file that the packages must be signed with.
        messages: Message of each emotion label.
        context: The context table; None for the shipped one.
        limits: Fields of `UserLimits`.
        annotated: Whether to write a copy of a video with boxes and names.
    """

    file: str
    still: bool
    folder: str
    fps: float
    decode: str = AUTO
    pipeline: dict[str, Any] = field(default_factory=dict)
    signature_key: str | None = None
    messages: dict[str, str] = field(default_factory=dict)
    context: str | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    annotated: bool = False

    def to_line(self) -> bytes:
        """The request as one line of JSON."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"


def analyze(
    request: AnalysisRequest, progress: Callable[[float], None], stopping: Callable[[], bool]
) -> bool:
    """Analyse the upload and write its report and digest.

    Args:
        request: What to analyse.
        progress: Called with the share that is done, 0 to 1.
        stopping: Returns True to stop.

    Returns:
        False if it was stopped.

    Raises:
        EdgeharferError: The upload cannot be read or is too large, or a model cannot be used.
        MemoryError: Decoding exceeds the memory limit.
    """
    limits, path = UserLimits(**request.limits), Path(request.file)
    (check_picture if request.still else check_video)(path, limits)
    # Imported late: loading models and charts takes seconds, which a rejected upload need not wait for.
    from edgeharfer.app.annotated import ANNOTATED, write_annotated
    from edgeharfer.app.digest import ReportDigest
    from edgeharfer.app.models import load_intensity_estimator
    from edgeharfer.report.analyzer import Analyzer
    from edgeharfer.report.inputs import make_input
    from edgeharfer.report.job import ReportJob
    from edgeharfer.report.task import ReportTask

    pipeline = {**request.pipeline, "backend": Backend(**request.pipeline.get("backend", {}))}
    if request.signature_key is not None:
        pipeline |= _signed_packages(request.pipeline, Path(request.signature_key))
    analyzer = Analyzer(fps=request.fps, **pipeline)
    analyzer.warm_up()
    limit_resources(limits)
    with open_source(path, decode=request.decode) as source:
        check_length(source, path, limits)
    folder = Path(request.folder)
    job = ReportJob(analyzer, duration_s=limits.video_s, decode=request.decode)
    share = ANALYSIS_SHARE if request.annotated and not request.still else 1.0
    written = job.analyze(
        ReportTask(make_input(str(path)), folder, "", False), lambda done: progress(share * done), stopping
    )
    if written is None:
        return False
    if share < 1.0:
        with open_source(path, decode=request.decode) as source:
            write_annotated(
                source,
                written.report,
                folder / ANNOTATED,
                lambda done: progress(share + (1 - share) * done),
                stopping,
            )
        if stopping():
            return False
    reading = ReportDigest(
        load_intensity_estimator(pipeline),
        LikelyActions(read_table(_path(request.context))),
        request.messages,
    )
    digest = compact_json({**reading.digest(written.report), "annotated": share < 1.0})
    (folder / DIGEST).write_text(digest, encoding="ascii")
    return True


def _signed_packages(pipeline: Mapping[str, Any], key: Path) -> dict[str, Package | None]:
    """Load the packages of these pipeline options and check their signatures."""
    names = {task: pipeline.get(task, TASKS[task].package) for task in PACKAGE_TASKS}
    return {
        task: None if name is None else load_package(name, task, require_signature=key)
        for task, name in names.items()
    }


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def limit_resources(limits: UserLimits) -> None:
    """Limit memory and CPU time where the system supports it: a small file may decode to a huge one."""
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
    """Address space in use, in bytes; None without /proc."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None


def main() -> None:
    """Read one request, analyse it and report the outcome."""
    line = read_line(sys.stdin.fileno())
    if not line:
        return
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with redirected_output() as out:
        reporter = MessageWriter(out)
        try:
            done = analyze(AnalysisRequest(**json.loads(line)), reporter.report, input_ended)
        except EdgeharferError as error:
            reporter.send({"failed": str(error)})
        except (MemoryError, cv2.error):
            reporter.send({"failed": "the file cannot be decoded within the memory limit"})
        except Exception as error:  # shown on the page
            reporter.send({"failed": f"internal error, please report it: {type(error).__name__}: {error}"})
        else:
            if done:
                reporter.send({"done": True})


if __name__ == "__main__":
    main()

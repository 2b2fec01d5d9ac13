"""The process that teaches a package; `lesson` starts it as `python -m edgeharfer.app.lesson_worker`.

The request is one line of JSON on standard input, and messages go to standard output as those of `worker`:
{"share": 0.4} for progress, then {"taught": {…}} or {"failed": "reason"}.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from edgeharfer.app.settings import UserLimits
from edgeharfer.app.worker import limit_resources
from edgeharfer.report.worker_io import MessageWriter, read_line, redirected_output
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.progress import Display, shown_by
from edgeharfer.runtime.tasks import ACTION, TASKS


@dataclass(frozen=True)
class LessonRequest:
    """What to teach.

    Attributes:
        data: Folder of `<class>/<clip>`.
        out: Folder of the package.
        name: Name of the package.
        base: Action package with the encoder; None for the default one.
        memory_mb: Memory in addition to what is in use at the start.
        work_s: CPU time for each core.
    """

    data: str
    out: str
    name: str
    base: str | None
    memory_mb: int
    work_s: float

    def to_line(self) -> bytes:
        """The request as one line of JSON."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"


class _ShareDisplay(Display):
    """Reports the progress of a step, the reading of the clips, as a share of all work."""

    def __init__(self, reporter: MessageWriter) -> None:
        self._reporter = reporter
        self._done, self._total = 0.0, 0.0

    def begin(self, title: str, total: float | None) -> None:
        self._done, self._total = 0.0, total or 0.0

    def advance(self, amount: float = 1, note: str | None = None, title: str | None = None) -> None:
        self._done += amount
        if self._total:
            self._reporter.report(0.9 * self._done / self._total)

    def end(self) -> None:
        return

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()


def teach_package(request: LessonRequest, reporter: MessageWriter) -> dict[str, Any]:
    """Teach the package and return what the page shows, JSON-serialisable.

    Raises:
        EdgeharferError: The examples cannot be used.
    """
    from edgeharfer.teach.lesson import teach
    from edgeharfer.teach.package import write_package

    limit_resources(UserLimits(memory_mb=request.memory_mb, work_s=request.work_s))
    with shown_by(_ShareDisplay(reporter)):
        lesson = teach([Path(request.data)], base=request.base or TASKS[ACTION].package)
    write_package(lesson, Path(request.out), request.name)
    return {
        "top1": lesson.accuracy,
        "labels": list(lesson.labels),
        "confusion": lesson.confusion.tolist(),
        "classes": [asdict(one) for one in lesson.classes],
        "background_named": lesson.background_named,
        "warnings": list(lesson.warnings),
        "seconds": round(lesson.seconds, 1),
    }


def main() -> None:
    """Read one request, teach the package and report the outcome."""
    line = read_line(sys.stdin.fileno())
    if not line:
        return
    with redirected_output() as out:
        reporter = MessageWriter(out)
        try:
            taught = teach_package(LessonRequest(**json.loads(line)), reporter)
        except EdgeharferError as error:
            reporter.send({"failed": str(error)})
        except (MemoryError, cv2.error):
            reporter.send({"failed": "a clip cannot be decoded within the memory limit"})
        except Exception as error:  # shown on the page
            reporter.send({"failed": f"internal error, please report it: {type(error).__name__}: {error}"})
        else:
            reporter.send({"taught": taught})


if __name__ == "__main__":
    main()

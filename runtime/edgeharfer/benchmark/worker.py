"""Run a benchmark job in a child process, with commands and responses as JSON lines.

    python -m edgeharfer.benchmark.worker

The first command creates a job, each further one calls one of its methods. The process ends when its standard
input is closed, so it never outlives its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from edgeharfer.runtime import errors
from edgeharfer.runtime.child import Child, child_command
from edgeharfer.runtime.inference.backend import Backend

_STOP_WAIT_S = 10.0


class BenchmarkWorker(Child):
    """The parent's side of a benchmark process. Each call waits for its response.

    Errors of the job are raised in the parent with their original type if that is a subclass of
    EdgeharferError, otherwise as RuntimeError.

    Args:
        job: A key of JOBS.
        settings: JSON-serialisable arguments of the job.
    """

    def __init__(self, job: str, **settings: Any) -> None:
        super().__init__(
            child_command("edgeharfer.benchmark.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            capture_stderr=True,
            grace_s=_STOP_WAIT_S,
            own_session=False,  # Ctrl-C ends it immediately
        )
        try:
            self.call(job, **settings)
        except BaseException:
            self.close()
            raise

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a method of the job and return its result.

        Raises:
            EdgeharferError: The method raised it.
            RuntimeError: The method raised another error, or the process ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps({"call": name, "with": arguments}).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            reason = self.last_stderr_line()[:300] or "no output"
            raise RuntimeError(f"the benchmark process ended: {reason}")
        answer = json.loads(line)
        if "error" in answer:
            raise _as_error(answer["error"], answer["message"])
        return answer["result"]


def _as_error(kind: str, message: str) -> Exception:
    """Rebuild an EdgeharferError from its type name; MissingExtra, whose arguments differ, as ConfigError."""
    known = getattr(errors, kind, None)
    if known is errors.MissingExtra:
        return errors.ConfigError(message)
    if isinstance(known, type) and issubclass(known, errors.EdgeharferError):
        return known(message)
    return RuntimeError(f"{kind}: {message}")


def _pipeline_job(settings: Mapping[str, Any]) -> Any:
    from edgeharfer.benchmark.pipeline_job import PipelineJob

    return PipelineJob(**_with_backend(settings))


def _keras_job(settings: Mapping[str, Any]) -> Any:
    from edgeharfer.benchmark.keras_job import KerasJob

    return KerasJob(**settings)


def _agreement_job(settings: Mapping[str, Any]) -> Any:
    from edgeharfer.benchmark.agreement import AgreementJob

    return AgreementJob(**_with_backend(settings))


def _with_backend(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "backend": Backend(**settings.get("backend", {}))}


JOBS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "pipeline": _pipeline_job,
    "keras": _keras_job,
    "agreement": _agreement_job,
}
METHODS = ("stream", "blocks", "loop", "summary", "compare")


def serve(commands: IO[str], answers: IO[str]) -> None:
    """Execute commands until the input ends."""
    job: Any = None
    try:
        for line in commands:
            command = json.loads(line)
            name, arguments = command["call"], command["with"]
            try:
                if job is None:
                    job, result = JOBS[name](arguments), None
                elif name in METHODS:
                    result = getattr(job, name)(**arguments)
                else:
                    raise ValueError(f"unknown command: {name}")
                answer = {"result": result}
            except Exception as error:  # sent to the parent, which raises it
                answer = {"error": type(error).__name__, "message": str(error)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        if job is not None:
            job.close()


def main() -> None:
    """Serve standard input. Output of libraries is redirected to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answers:
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()

"""A job in a process of its own: commands come as JSON lines, answers go back the same way.

    python -m edgeharfer.benchmark.worker

The first line says which job, each further one which of its methods to call. The process ends with its
input, so that it never outlives the one that started it.
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
    """The side that asks. Each call waits for its answer.

    job: a key of JOBS; settings: arguments of what it names, fit for JSON.
    Errors of the job are raised here as what they were there.
    """

    def __init__(self, job: str, **settings: Any) -> None:
        super().__init__(
            child_command("edgeharfer.benchmark.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            capture_stderr=True,
            grace_s=_STOP_WAIT_S,
            own_session=False,  # Ctrl-C ends it at once, whatever it is measuring
        )
        try:
            self.call(job, **settings)
        except BaseException:
            self.close()
            raise

    def call(self, name: str, **arguments: Any) -> Any:
        """What that method of the job returns."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps({"call": name, "with": arguments}).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            said = self.last_stderr_line()[:300] or "it said nothing"
            raise RuntimeError(f"the benchmark's own process ended: {said}")
        answer = json.loads(line)
        if "error" in answer:
            raise _as_error(answer["error"], answer["message"])
        return answer["result"]


def _as_error(kind: str, message: str) -> Exception:
    """The error tree's own members come back as themselves, but for those that are made of other words."""
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
    """The side that works, until its input ends."""
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
                    raise ValueError(f"no such command: {name}")
                answer = {"result": result}
            except Exception as error:  # Whatever it is, it is told to the one who asked.
                answer = {"error": type(error).__name__, "message": str(error)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        if job is not None:
            job.close()


def main() -> None:
    """Serve standard input; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answers:
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()

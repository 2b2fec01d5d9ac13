"""A job in a process of its own: commands come as JSON lines, answers go back the same way.

    python -m edgeharfer.benchmark.worker

The first line says which job, each further one which of its methods to call. The process ends with its
input, so that it never outlives the one that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from edgeharfer.runtime import errors
from edgeharfer.runtime.child import child_command, child_environment
from edgeharfer.runtime.inference.backend import Backend

_STOP_WAIT_S = 10.0


class Worker:
    """The side that asks. Each call waits for its answer.

    job: a key of JOBS; settings: arguments of what it names, fit for JSON.
    Errors of the job are raised here as what they were there.
    """

    def __init__(self, job: str, **settings: Any) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            child_command("edgeharfer.benchmark.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=child_environment(),
        )
        try:
            self.call(job, **settings)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def call(self, name: str, **arguments: Any) -> Any:
        """What that method of the job returns."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps({"call": name, "with": arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the benchmark's own process ended: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise _as_error(answer["error"], answer["message"])
        return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # A process that died left a command unread.
                assert pipe is not None
                pipe.close()
        try:
            self._process.wait(_STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


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

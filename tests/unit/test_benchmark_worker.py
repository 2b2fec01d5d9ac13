"""A job in another process: answers, errors as they were there, and an end with its input."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from edgeharfer.benchmark import worker
from edgeharfer.benchmark.worker import BenchmarkWorker, serve
from edgeharfer.runtime.errors import ConfigError, ModelError, SourceError


class Job:
    """Stands in for a benchmark."""

    closed = 0

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if "broken" in settings:
            raise ModelError("net: is broken")

    def loop(self, frames: int) -> dict[str, Any]:
        return {"frames": 2 * frames}

    def close(self) -> None:
        Job.closed += 1


def answers(monkeypatch: pytest.MonkeyPatch, *commands: dict[str, Any]) -> list[dict[str, Any]]:
    monkeypatch.setattr(worker, "JOBS", {"job": Job})
    said = io.StringIO()
    serve(io.StringIO("".join(json.dumps(command) + "\n" for command in commands)), said)
    return [json.loads(line) for line in said.getvalue().splitlines()]


def test_a_job_is_made_asked_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Job.closed
    said = answers(monkeypatch, {"call": "job", "with": {}}, {"call": "loop", "with": {"frames": 3}})
    assert said == [{"result": None}, {"result": {"frames": 6}}]
    assert Job.closed == before + 1


def test_errors_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    said = answers(
        monkeypatch,
        {"call": "job", "with": {"broken": True}},
        {"call": "job", "with": {}},
        {"call": "close", "with": {}},
    )
    assert said[0] == {"error": "ModelError", "message": "net: is broken"}
    assert said[2] == {"error": "ValueError", "message": "unknown command: close"}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("SourceError", SourceError), ("MissingExtra", ConfigError), ("KeyError", RuntimeError)],
)
def test_errors_come_back_as_what_they_were(kind: str, wanted: type[Exception]) -> None:
    error = worker._as_error(kind, "it is so")
    assert type(error) is wanted and "it is so" in str(error)


def test_a_real_process_tells_its_error_and_ends() -> None:
    with (
        BenchmarkWorker("pipeline", spec="nowhere.mp4", options={"action": None, "emotion": None}) as job,
        pytest.raises(SourceError, match="no such file"),
    ):
        job.call("stream", frames=1)


def test_a_process_that_died_says_its_last_words() -> None:
    with BenchmarkWorker("pipeline", spec="nowhere.mp4", options={"action": None, "emotion": None}) as job:
        job.process.kill()
        job.process.wait()
        with pytest.raises(RuntimeError, match="process ended: "):
            job.call("summary")

"""JSON lines: their exact form, and what happens when they cannot be written."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import event_file
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Action, Box, Emotion, Frame, TrackedFace, round_probabilities

FRAME = Frame(seq=0, pts_s=0.0, captured_s=0.0, picture=np.zeros((4, 4, 3), np.uint8))
HAPPY = Emotion("happy", 0.88004, {"happy": 0.88004, "neutral": 0.06996, "sad": 0.05})
SUMMARY = {"frames_in": 2, "fps": 3.5}


def example() -> Result:
    return Result(
        seq=12,
        pts_s=0.48,
        age_ms=4.1,
        faces=(TrackedFace(1, Box(200.6, 96.2, 143.4, 142.8), 0.93, {"emotion": HAPPY}),),
        readings={"action": Action("Biking", 0.81, ready=True, probs={"Biking": 0.81})},
    )


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_result_line_is_as_the_interface_shows_it() -> None:
    assert example().to_dict() == {
        "kind": "result",
        "seq": 12,
        "pts_s": 0.48,
        "age_ms": 4.1,
        "action": {"label": "Biking", "score": 0.81, "ready": True},
        "faces": [
            {
                "track": 1,
                "box": [201, 96, 143, 143],
                "score": 0.93,
                "emotion": {
                    "label": "happy",
                    "score": 0.88,
                    "probs": {"happy": 0.88, "neutral": 0.07, "sad": 0.05},
                },
            }
        ],
    }


def test_what_is_off_is_null() -> None:
    off = Result(seq=1, pts_s=0.0, age_ms=0.0, faces=(TrackedFace(3, Box(0, 0, 9, 9), 0.5),))
    line = off.to_dict()
    assert line["action"] is None
    assert line["faces"][0]["emotion"] is None


def test_a_cut_is_a_line_of_its_own_before_the_result(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        sink.write(FRAME, example(), Status())
        sink.write(FRAME, replace(example(), seq=13, pts_s=0.52004, cut=True), Status())
    assert [line["kind"] for line in lines(path)] == ["result", "cut", "result"]
    assert lines(path)[1] == {"kind": "cut", "seq": 13, "pts_s": 0.52}


def test_an_action_that_is_not_ready_is_uncertain() -> None:
    early = Result(seq=1, pts_s=0.0, age_ms=0.0, readings={"action": Action("Biking", 0.7, ready=False)})
    assert early.to_dict()["action"] == {"label": "uncertain", "score": 0.7, "ready": False}


@pytest.mark.parametrize("count", [2, 8, 21, 400])
def test_rounded_probabilities_still_sum_to_one(count: int) -> None:
    probs = np.random.default_rng(count).dirichlet(np.full(count, 0.7)).astype(np.float32)
    named = {f"c{i}": float(p) for i, p in enumerate(probs)}
    rounded = round_probabilities(named)
    assert sum(rounded.values()) == pytest.approx(1.0, abs=1e-6)
    assert list(rounded) == list(named)
    assert max(abs(rounded[name] - named[name]) for name in named) <= 1e-4
    assert all(value == round(value, 4) for value in rounded.values())


def test_rounding_does_not_hide_a_wrong_sum() -> None:
    assert sum(round_probabilities({"a": 0.3, "b": 0.3}).values()) == pytest.approx(0.6)


def test_each_line_is_compact_and_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        assert path.exists(), "opened on entering"
        sink.write(FRAME, example(), Status())
        assert path.read_text().count("\n") == 1, "flushed"
        sink.finish(SUMMARY)
    assert [line["kind"] for line in lines(path)] == ["result", "summary"]
    assert lines(path)[1] == {"kind": "summary", **SUMMARY}
    assert ", " not in path.read_text()
    assert ": " not in path.read_text()


def test_a_file_of_events_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with EventsSink(path) as sink:
            sink.write(FRAME, example(), Status())
            sink.finish(SUMMARY)
    assert [line["kind"] for line in lines(path)] == ["result", "summary"] * 2


@pytest.mark.parametrize("keep", [1, 8, 9, 30, -1])
def test_a_line_that_was_torn_is_cut_off_on_entering(
    tmp_path: Path, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        sink.write(FRAME, example(), Status())
        sink.write(FRAME, example(), Status())
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:keep])
    with EventsSink(path) as sink:
        sink.finish(SUMMARY)
    assert [line["kind"] for line in lines(path)] == ["result", "summary"]
    assert "incomplete last line" in caplog.text


def test_a_file_that_holds_only_a_torn_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"resul')
    with EventsSink(path) as sink:
        sink.finish(SUMMARY)
    assert [line["kind"] for line in lines(path)] == ["summary"]


@pytest.mark.parametrize(
    "content", [b"dear diary\n", b"dear diary", b'{"kind":"result"}\ndear diary', bytes(99)]
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(content)
    with (
        pytest.raises(SinkError, match=r"diary\.txt: contains something other than events"),
        EventsSink(path),
    ):
        pass
    assert path.read_bytes() == content


def state(name: str, elapsed_s: float = 0.0) -> Status:
    return Status(source_state=name, elapsed_s=elapsed_s)


def test_a_line_tells_when_a_live_source_is_in_trouble_and_when_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        sink.refresh(state("connecting"))
        sink.write(FRAME, example(), state("live"))
        for name in ("stalled", "stalled", "lost", "connecting", "backoff", "connecting"):
            sink.refresh(state(name, 7.125))
        sink.write(FRAME, example(), state("live", 20.0))
        sink.write(FRAME, example(), state("ended"))
    told = lines(path)
    assert [line["kind"] for line in told] == ["result", "state", "state", "state", "result", "result"]
    assert told[1] == {"kind": "state", "state": "stalled", "elapsed_s": 7.12}
    assert [line["state"] for line in told[2:4]] == ["lost", "live"]


def test_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with EventsSink("-") as sink:
        sink.write(FRAME, example(), Status())
    assert json.loads(capsys.readouterr().out)["seq"] == 12
    assert not sys.stdout.closed


@pytest.mark.parametrize("where", ["missing/events.jsonl", "."])
def test_a_path_that_cannot_be_written_fails_on_entering(tmp_path: Path, where: str) -> None:
    with pytest.raises(SinkError, match="cannot be written") as caught, EventsSink(tmp_path / where):
        pass
    assert caught.value.exit_code == 2
    assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_a_sink_error() -> None:
    with EventsSink("/dev/full") as sink, pytest.raises(SinkError, match=r"/dev/full.*No space left"):
        sink.write(FRAME, example(), Status())


def test_a_torn_line_is_cut_off_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EventsSink(path) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, hard))  # no multiple of a line
        try:
            with pytest.raises(SinkError, match="File too large"):
                for _ in range(2000):
                    sink.write(FRAME, example(), Status())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        whole = len(lines(path))
        sink.write(FRAME, example(), Status())
    assert whole > 300
    assert len(lines(path)) == whole + 1


READER_GONE = """
import numpy as np, sys
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Frame
frame = Frame(0, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8))
with EventsSink("-") as sink:
    for seq in range(1_000_000):
        if sink.closed:
            break
        sink.write(frame, Result(seq, 0.0, 0.0), Status())
    sink.finish({})
print("whatever else is said on standard output", flush=True)
sys.exit(0 if sink.closed else 9)
"""


def test_a_reader_that_goes_away_ends_the_run_cleanly() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", READER_GONE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["seq"] == 0
    child.stdout.close()
    child.stdout = None  # communicate() would read it
    _, complaints = child.communicate(timeout=120)
    assert child.returncode == 0, complaints.decode()
    assert complaints == b""


def test_a_sink_outside_its_with_block_says_so() -> None:
    with pytest.raises(SinkError, match="not open"):
        EventsSink("-").finish({})


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe, and the descriptor of its reader, who does not read by himself."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_a_pipe_that_nobody_reads_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="has no reader"), EventsSink(tmp_path / "pipe"):
        pass


def test_a_reader_of_a_pipe_that_is_stuck_does_not_hold_up_the_run(
    pipe: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_file, "_READER_TIMEOUT_S", 0.01)
    path, reader = pipe
    given = missed = 0
    with EventsSink(path) as sink:
        for _ in range(600):
            try:
                sink.write(FRAME, example(), Status())
                given += 1
            except SinkError as error:
                assert "does not keep up" in str(error)
                missed += 1
        assert given > 100 and missed > 100
        data = os.read(reader, 1 << 20)
        sink.write(FRAME, example(), Status())
        data += os.read(reader, 1 << 20)
    assert [json.loads(line)["seq"] for line in data.splitlines()] == [12] * (given + 1), "no line is torn"


def test_a_reader_of_a_pipe_that_goes_away_closes_the_sink(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with EventsSink(path) as sink:
        os.close(reader)
        sink.write(FRAME, example(), Status())
        assert sink.closed


def test_two_sinks_cannot_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventsSink(path) as sink:
        sink.write(FRAME, example(), Status())
        with pytest.raises(SinkError, match="another run is writing to this file"), EventsSink(path):
            pass
        sink.finish(SUMMARY)
    assert [line["kind"] for line in lines(path)] == ["result", "summary"]
    with EventsSink(path) as sink:
        sink.finish(SUMMARY)
    assert len(lines(path)) == 3, "it is free again"


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_devices_are_not_locked(device: str) -> None:
    with EventsSink(device), EventsSink(device) as sink:
        if device == "/dev/null":
            sink.finish(SUMMARY)
        else:
            with pytest.raises(SinkError, match="cannot be written"):
                sink.finish(SUMMARY)


def test_two_runs_can_write_to_one_pipe(pipe: tuple[Path, int]) -> None:
    path, reader = pipe
    with EventsSink(path) as first, EventsSink(path) as second:
        first.finish(SUMMARY)
        second.finish(SUMMARY)
    assert os.read(reader, 1 << 16).count(b"\n") == 2

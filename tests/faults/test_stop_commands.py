"""Each command and each stop signal: how soon the process ends, with which exit code, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny_models
from mjpeg_server import allowed_s

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# SIGINT is ignored in what a shell starts in the background, and so it would be in the commands.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = [sys.executable, "-c", START + "from edgeharfer.cli import main; main()"]
LIGHT = ["--view", "none", "--action", "off", "--emotion", "off"]
HANGUP = signal.SIGHUP
"""What a process gets whose terminal is closed."""


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An emotion package whose graph never ends."""
    folder = tmp_path_factory.mktemp("endless")
    return tiny_models.emotion_package(folder, model=tiny_models.endless()).path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str | Path, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            preexec_fn=before,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: int) -> tuple[float, str]:
    """Seconds from the signal to the end, and what was said on standard error."""
    assert process.poll() is None, process.communicate()
    start_s = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return time.monotonic() - start_s, said


def wait_for(condition: Callable[[], bool]) -> None:
    due_s = time.monotonic() + allowed_s(20)
    while not condition():
        assert time.monotonic() < due_s
        time.sleep(0.02)


def listens(pid: int) -> bool:
    """Whether a process handles SIGTERM already; Python takes a tenth of a second to get there."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        time.sleep(1.0)
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def rows(events: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, HANGUP])
def test_a_run_writes_its_files_whatever_signal_stops_it(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], number: int
) -> None:
    events, film, stats = tmp_path / "events.jsonl", tmp_path / "film.mp4", tmp_path / "stats.json"
    outputs = ["--events", events, "--save", film, "--stats", stats]
    run = start("run", "--source", "demo", "--pace", "realtime", *LIGHT, *outputs)
    wait_for(lambda: len(rows(events)) > 3)
    stopped_s, _ = stop(run, number)
    assert run.returncode == 0
    assert rows(events)[-1]["kind"] == "summary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "film.mp4", "stats.json"]
    assert stopped_s < allowed_s(2)


def test_a_hang_up_that_is_ignored_stays_ignored(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    def as_nohup_does() -> None:
        signal.signal(HANGUP, signal.SIG_IGN)

    events = tmp_path / "events.jsonl"
    run = start(
        "run", "--source", "demo", *LIGHT, "--pace", "realtime", "--events", events, before=as_nohup_does
    )
    wait_for(lambda: len(rows(events)) > 3)
    run.send_signal(HANGUP)
    count = len(rows(events))
    wait_for(lambda: len(rows(events)) > count + 10)
    stop(run, signal.SIGTERM)
    assert run.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_ends_though_a_graph_does_not(
    tmp_path: Path,
    endless: Path,
    start: Callable[..., subprocess.Popen[str]],
    number: int,
    figures: Figures,
) -> None:
    events = tmp_path / "events.jsonl"
    options = ["--view", "none", "--action", "off", "--emotion", endless]
    run = start("run", "--source", "demo", *options, "--events", events, "--save", tmp_path / "film.mp4")
    wait_for(events.exists)
    time.sleep(0.3)  # the graph is warmed up next
    stopped_s, _ = stop(run, number)
    figures(stopped_s=stopped_s)
    assert run.returncode == 0
    assert [row["kind"] for row in rows(events)] == ["summary"]
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
    assert stopped_s < allowed_s(2)


NEVER_RETURNS = """
import sys, time
from pathlib import Path
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
from edgeharfer.runtime.sinks.partial import PartialFile, discard_unfinished
loads = sys.argv[2] == "loads"
with stop_signals() as stopping, NATIVE_CALLS.call("folder/model.onnx", lambda: None, is_load=loads):
    stopping.on_forced_exit(discard_unfinished)
    PartialFile(Path(sys.argv[1])).create()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("runs", 143, "folder/model.onnx: a call of this model does not return, so the process was ended"),
        ("loads", 0, "stopped while folder/model.onnx was loading"),
    ],
)
def test_a_call_that_never_returns_ends_with_its_process(
    tmp_path: Path, figures: Figures, kind: str, code: int, line: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NEVER_RETURNS, str(tmp_path / "film.mp4"), kind],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        wait_for(lambda: any(tmp_path.iterdir()))
        stopped_s, said = stop(process, signal.SIGTERM)
    figures(stopped_s=stopped_s)
    assert process.returncode == code
    assert said == f"edgeharfer: {line}\n"
    assert list(tmp_path.iterdir()) == []
    assert stopped_s < allowed_s(2)


FORKED = """
import os, signal, time
from edgeharfer.cli.stopping import CALL_TIMEOUT_S, stop_signals
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS
with stop_signals() as stopping:
    child = os.fork()
    if child == 0:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1])
    time.sleep(CALL_TIMEOUT_S + 0.2)
    with NATIVE_CALLS.call("model", lambda: None):
        print(stopping())
"""


def test_a_signal_for_a_forked_process_is_not_taken_for_one_s_own() -> None:
    """Libraries fork workers, and end them by SIGTERM."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.split() == [str(int(signal.SIGTERM)), "False"]


UNFINISHED = [
    (["benchmark", "PACKAGE"], signal.SIGTERM),
    (["benchmark", "PACKAGE"], signal.SIGINT),
    (["analyze", "demo", "--out", "OUT", "--action", "off", "--emotion", "PACKAGE"], signal.SIGINT),
    (["models", "verify", "PACKAGE"], signal.SIGTERM),
    (["models", "install", "PACKAGE", "--config", "none.toml", "--state", "OUT"], HANGUP),
    (["train", "emotion", "--data", "none", "--out", "OUT"], signal.SIGTERM),
]
"""Commands that would go on for long or for ever; `train` because it loads TensorFlow first."""


def test_commands_that_had_no_result_say_so_by_their_exit_codes(
    tmp_path: Path, endless: Path, start: Callable[..., subprocess.Popen[str]], figures: Figures
) -> None:
    """Or what follows them after `&&` would go on."""
    names = {"PACKAGE": str(endless), "OUT": str(tmp_path / "out")}
    processes = [start(*(names.get(word, word) for word in words)) for words, _ in UNFINISHED]
    wait_for(lambda: all(listens(process.pid) for process in processes))
    stopped_s = []
    for process, (words, number) in zip(processes, UNFINISHED, strict=True):
        taken_s, said = stop(process, number)
        stopped_s.append(taken_s)
        assert process.returncode == 128 + number, words
        assert said == f"edgeharfer: stopped by {signal.Signals(number).name} before it finished\n", words
    figures(worst_s=max(stopped_s))
    assert max(stopped_s) < allowed_s(3)
    assert not list((tmp_path / "out").glob("**/*.onnx"))


# Modules written in C, such as NumPy's, turn whatever is raised while they are imported into other errors.
INTERRUPTED_IMPORT = """
import os, signal, time
from edgeharfer import cli
from edgeharfer.runtime.errors import ConfigError, SinkError

def import_extension(name, arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        ERROR

cli.cli.make_context = import_extension
cli.main()
"""
BECOMES = {
    "error of the import": 'raise ImportError("initialization failed") from None',
    "error of the interpreter": 'raise SystemError("returned a result with an exception set") from None',
    "half a module": "import numpy; numpy.half_imported",
    "configuration": 'raise ConfigError("cannot be loaded here") from ImportError("x")',
}


def interrupted(error: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT.replace("ERROR", error), "doctor"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


@pytest.mark.parametrize("error", BECOMES.values(), ids=BECOMES)
def test_an_import_that_a_signal_interrupts_is_no_error(error: str) -> None:
    process = interrupted(error)
    assert process.returncode == 128 + signal.SIGTERM
    assert process.stderr == "edgeharfer: stopped by SIGTERM before it finished\n"


def test_outputs_that_cannot_be_written_are_reported_after_a_signal_too() -> None:
    process = interrupted('raise SinkError("out.csv: no space left")')
    assert (process.returncode, process.stderr) == (2, "edgeharfer: out.csv: no space left\n")

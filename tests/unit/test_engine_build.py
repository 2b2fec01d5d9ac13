"""An engine built in a process of its own: done, failed, given up. What builds it is scripted here."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import tiny_models
from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.inference import engine_build as engine
from edgeharfer.runtime.inference import tensorrt as gpu
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.engine_build import EngineBuild, build_lock
from edgeharfer.runtime.inference.graph import Graph
from scripted_gpu import CUDA, TENSORRT, use_gpu_build

MODEL = Graph.scan(tiny_models.head(), "net")
BACKEND = Backend("cuda", threads=2)
KEEP_STDIN = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
FAIL = "import sys; sys.stderr.write('first\\nno room on the GPU\\n\\n'); sys.exit(3)"
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
FOR_MINUTES = "import time; time.sleep(600)"


def script(code: str) -> tuple[str, str]:
    return "-c", code


def wait_for(build: EngineBuild) -> None:
    due_s = time.monotonic() + 60
    while not build.finished():
        assert time.monotonic() < due_s
        time.sleep(0.01)


def test_the_builder_gets_the_model_and_its_name(tmp_path: Path) -> None:
    name = str(tmp_path / "given")
    build = EngineBuild(replace(MODEL, name=name), BACKEND, command=script(KEEP_STDIN))
    wait_for(build)
    build.close()
    assert Path(name).read_bytes() == MODEL.data


@pytest.mark.parametrize(
    ("code", "why"),
    [(FAIL, "no room on the GPU"), (CRASH, r"crashed \(SIGSEGV\)"), ("exit(4)", "exit code 4")],
)
def test_a_builder_that_fails_says_why(code: str, why: str) -> None:
    build = EngineBuild(MODEL, BACKEND, command=script(code))
    with pytest.raises(ProviderError, match=rf"^TensorRT engine for net cannot be built: .*{why}"):
        wait_for(build)
    build.close()


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_builder_ends_with_what_started_it(how: str) -> None:
    build = EngineBuild(MODEL, BACKEND, command=script(FOR_MINUTES))
    assert not build.finished()
    process = build.process
    if how == "closed":
        build.close()
        build.close()
    else:
        del build
    assert process.returncode == -9


def test_a_program_that_ends_takes_its_builder_along() -> None:
    """Without a close: nothing of it may outlive the interpreter, and nothing may hold that up."""
    told = (
        "from edgeharfer.runtime.inference.backend import CPU\n"
        "from edgeharfer.runtime.inference.engine_build import EngineBuild\n"
        "from edgeharfer.runtime.inference.graph import Graph\n"
        f"graph = Graph.scan({MODEL.data!r}, 'net')\n"
        f"build = EngineBuild(graph, CPU, command=('-c', {FOR_MINUTES!r}))\n"
        "print(build.process.pid)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


# The process itself -----------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    found = gpu.GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
    for module in (gpu, engine):
        monkeypatch.setattr(module, "cache_root", lambda: tmp_path / "engines")
    monkeypatch.setattr(gpu, "gpu_environment", lambda: found)
    monkeypatch.setattr(os, "nice", lambda step: 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MODEL.data)))
    return tmp_path


def test_it_builds_what_is_lacking_and_only_that(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = use_gpu_build(monkeypatch, here, TENSORRT, CUDA)
    assert engine.main(["net", "1"]) == 0
    assert not gpu.needs_engine_build(MODEL)
    ((tensorrt, *_),) = build.told
    assert Path(tensorrt["trt_engine_cache_path"]).parent == here / "engines"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MODEL.data)))
    assert engine.main(["net", "1"]) == 0
    assert len(build.told) == 1


def test_it_says_in_one_line_why_it_cannot(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_gpu_build(monkeypatch, here, CUDA)
    assert engine.main(["net", "1"]) == 3
    assert capsys.readouterr().err == (
        "tensorrt cannot be loaded: Please install TensorRT libraries: see `edgeharfer doctor`, "
        "or use --provider cpu\n"
    )


def test_an_engine_that_cannot_be_kept_is_a_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_gpu_build(monkeypatch, here, TENSORRT, CUDA)
    monkeypatch.setattr(gpu, "BUILT_FILE", "no/such/folder")
    assert engine.main(["net", "1"]) == 3
    assert "cannot be cached" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="builders do not wait for each other there")
def test_builders_wait_for_each_other(here: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with build_lock():
            order.append("second")

    thread = threading.Thread(target=second)
    with build_lock():
        thread.start()
        waiting.wait(10)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_it_starts_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real process: without TensorRT it finds nothing to do, else it builds the tiny head's engine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = EngineBuild(MODEL, BACKEND)
    wait_for(build)
    build.close()
    assert (tmp_path / "edgeharfer" / "engines" / engine.LOCK).exists()

"""Additions by a contributor, in a copy of the sources: one new file and one line in the registry.

A network is a function with a decorator, an INT8 recipe an entry of a list. Nothing else is changed, and the
command line, the configuration checks, the picker, the app and a run support each of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tiny_patterns
from edgeharfer.calib import open_calibration_source, quantize
from edgeharfer.calib.quantize import Quantization
from edgeharfer.calib.recipes import Calibrator
from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.emotion.networks import EMOTION_NETWORKS

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Addition:
    """A new file, and a line below another one in the registry."""

    file: str
    text: str
    registry: str
    below: str
    row: str


RUNTIME = "runtime/edgeharfer/runtime"
ADDITIONS = {
    "detector": Addition(
        f"{RUNTIME}/faces/detectors/dots.py",
        '''
import numpy as np
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.types import Box, Face

def load(options):
    return Dots()

class Dots(Detector):
    """One face, always in the same place."""

    provider = "none"

    def detect(self, bgr, region=None, *, close_up=False):
        return [Face(Box(10.0, 10.0, 20.0, 20.0), 0.9, np.full((6, 2), np.nan, np.float32))]

    def warm_up(self):
        pass
''',
        f"{RUNTIME}/faces/detectors/__init__.py",
        "DETECTORS: Mapping",
        '    "dots": DetectorEntry("One face in the corner"),',
    ),
    "task": Addition(
        f"{RUNTIME}/tasks/brightness.py",
        """
from edgeharfer.runtime.tasks.base import Reading, Task

class Brightness(Task):
    name, scope = "brightness", "scene"

    def step(self, frame, faces):
        return Reading(values={"mean": float(frame.bgr.mean())})
""",
        f"{RUNTIME}/tasks/__init__.py",
        "TASKS: Mapping",
        '    "brightness": TaskEntry(task="brightness:Brightness", scope="scene", summary="the light"),',
    ),
    "source": Addition(
        f"{RUNTIME}/source/flat.py",
        """
import numpy as np
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame

def make_source(spec, options):
    return Flat(int(spec.removeprefix("flat:")), options.clock)

class Flat(Source):
    fps = 10.0

    def __init__(self, level, clock):
        self.name, self._level, self._clock, self._seq = f"flat {level}", level, clock, 0

    def read(self):
        self._seq += 1
        picture = np.full((48, 64, 3), self._level, np.uint8)
        return Frame(self._seq, self._seq / 10, self._clock.monotonic(), picture) if self._seq <= 5 else None
""",
        f"{RUNTIME}/source/__init__.py",
        "SOURCES: Mapping",
        '    "flat": SourceEntry("flat:LEVEL", r"flat:[0-9]+"),',
    ),
    "source that stands for itself": Addition(
        f"{RUNTIME}/source/grey.py",
        """
from edgeharfer.runtime.source.flat import Flat

def make_source(spec, options):
    return Flat(128, options.clock)
""",
        f"{RUNTIME}/source/__init__.py",
        "SOURCES: Mapping",
        '    "grey": SourceEntry("grey", "grey", title="Grey", detail="nothing to see"),',
    ),
    "sink": Addition(
        f"{RUNTIME}/sinks/tally.py",
        """
from pathlib import Path
from edgeharfer.runtime.sinks.base import Sink

def make_sink(target, options):
    return Tally(Path(target), options.source.name)

class Tally(Sink):
    def __init__(self, path, name):
        self._path, self._name, self._faces = path, name, 0

    def write(self, frame, result, status):
        self._faces += len(result.faces)

    def finish(self, summary):
        self._path.write_text(f"{self._name}: {self._faces}")
""",
        f"{RUNTIME}/sinks/__init__.py",
        "SINKS: Mapping",
        '    "tally": SinkEntry("Number of faces.", "FILE.txt"),',
    ),
    "view": Addition(
        f"{RUNTIME}/sinks/mirror.py",
        """
from edgeharfer.runtime.sinks.base import Sink

def make_sink(target, options):
    return Mirror()

class Mirror(Sink):
    url = "mirror://here"

    def write(self, frame, result, status):
        self.closed = frame.seq == 2
""",
        f"{RUNTIME}/sinks/__init__.py",
        "SINKS: Mapping",
        '    "mirror": SinkEntry("a mirror"),',
    ),
}
NETWORKS = "training/edgeharfer/training/emotion/networks.py"
NETWORK = '''

@emotion_network("tiny", InputSpec(32, 32, "gray", "unit"), "one convolution")
def tiny(x: Tensor) -> Tensor:
    """One convolution."""
    return layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))
'''

SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import list_sources
from edgeharfer.cli import run_command
from edgeharfer.cli.picker.menu import Menu
from edgeharfer.kiosk.config import load_config
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.source import open_source

class Quiet:
    def __init__(self, *_): pass
    def stop(self): pass
    close = stop

def said(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(list(words))
    return code, out.getvalue(), err.getvalue()

def kiosk(text):
    Path("kiosk.toml").write_text(text)
    try:
        config = load_config(Path("kiosk.toml"))
    except ConfigError as error:
        return str(error)
    return [config.source.spec, config.models.detector, *config.models.tasks]

import edgeharfer.cli.picker.menu as menu
menu.Preview = Quiet
off = ("--action", "off", "--emotion", "off")
lines = 'source = "flat:9"', 'detector = "dots"', 'task = ["brightness"]', 'tally = "tally.txt"'
Path("run.toml").write_text("\\n".join(lines))
Path("wrong.toml").write_text("tally = true")
print(json.dumps({
    "help": said("run", "--help")[1],
    "tasks": said("tasks")[1],
    "train": said("train", "emotion", "--help")[1],
    "run": said("run", "--config", "run.toml", "--view", "none", "--events", "-", *off),
    "tally": Path("tally.txt").read_text(),
    "wrong": said("run", "--config", "wrong.toml"),
    "nothing": said("run", "--source", "nothing://x"),
    "mirror": said("run", "--source", "grey", "--view", "mirror", "--detector", "dots", *off),
    "kiosk": kiosk('[source]\\nsource = "flat:7"\\n[models]\\ndetector = "dots"\\ntasks = ["brightness"]'),
    "refused": kiosk('[source]\\nsource = "nothing://x"'),
    "app": [one["name"] for one in list_sources(Settings())["sources"]],
    "picker": [one.title for one in Menu(list, open_source).choices],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a copy of the sources with all the additions says and does."""
    project = tmp_path_factory.mktemp("project")
    for part in ("runtime", "training"):
        unwanted = shutil.ignore_patterns("models", "__pycache__")
        shutil.copytree(PROJECT / part / "edgeharfer", project / part / "edgeharfer", ignore=unwanted)
    for one in ADDITIONS.values():
        add(project, one)
    with (project / NETWORKS).open("a", encoding="utf-8") as file:
        file.write(NETWORK)
    path = os.pathsep.join(str(project / part) for part in ("runtime", "training"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def add(project: Path, addition: Addition) -> None:
    assert "\n" not in addition.row
    (project / addition.file).write_text(addition.text, encoding="utf-8")
    registry = project / addition.registry
    lines = registry.read_text(encoding="utf-8").splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith(addition.below)]
    lines.insert(place + 1, addition.row)
    registry.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_help_offers_each_of_them(found: Any) -> None:
    words = " ".join(found["help"].split())
    assert "--tally FILE.txt Number of faces." in words
    assert "[auto|mirror|window|web|none]" in words
    assert (
        "flat:LEVEL" in words
        and "[dots|auto|" in words
        and "Additional task (brightness, headpose, pose)," in words
    )
    assert "the light" in found["tasks"]
    assert "|tiny]" in found["train"]


def test_a_run_by_a_configuration_file_uses_each_of_them(found: Any) -> None:
    code, out, _ = found["run"]
    results = [row for row in map(json.loads, out.splitlines()) if row["kind"] == "result"]
    assert code == 0
    assert [row["brightness"] for row in results] == [{"values": {"mean": 9.0}}] * 5
    assert [len(row["faces"]) for row in results] == [1] * 5
    assert found["tally"] == "flat 9: 5"


def test_a_view_of_ones_own_shows_where_it_is_and_can_end_the_run(found: Any) -> None:
    code, _, err = found["mirror"]
    assert code == 0
    assert "watch at mirror://here" in err
    assert "2 frames" in err


def test_what_does_not_fit_is_refused_by_the_registries(found: Any) -> None:
    code, _, err = found["wrong"]
    assert code == 2 and "wrong.toml: tally: must be a value" in err
    code, _, err = found["nothing"]
    assert (
        code == 2
        and "nothing://x: not a supported source; use one of FILE|DIR|GLOB" in err
        and "flat:LEVEL" in err
    )
    assert "kiosk.toml: source: nothing://x: not a supported source" in found["refused"]


def test_kiosk_app_and_picker_know_them(found: Any) -> None:
    assert found["kiosk"] == ["flat:7", "dots", "brightness"]
    assert {"Demo", "Grey"} <= set(found["app"])
    assert found["picker"] == ["Grey", "Demo", "A file…"]


def test_the_documentation_names_every_network() -> None:
    text = (PROJECT / "docs" / "training.md").read_text(encoding="utf-8")
    assert [name for name in (*EMOTION_NETWORKS, *ACTION_NETWORKS) if f"`{name}`" not in text] == []


def test_an_int8_recipe_is_an_entry_of_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moving = Calibrator("moving average", "MinMax", (("moving_average", True), ("averaging_constant", 0.1)))
    monkeypatch.setattr(quantize, "CALIBRATORS", (moving,))
    data = tiny_patterns.write_pictures(tmp_path / "stripes", {"train": 5, "val": 5})
    package = tiny_patterns.picture_package(tmp_path / "tiny")
    calibration = open_calibration_source(package.manifest, data).calibration(20, 1)
    lines: list[str] = []
    made = Quantization(package, calibration, None, report=lines.append).run()
    assert any(line.startswith("int8, moving average") and line.endswith("not measured") for line in lines)
    assert str(made.facts["recipe"]).startswith("moving average")

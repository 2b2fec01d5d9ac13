"""The project as a whole: one namespace package, a lean runtime, exit codes, pinned versions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgeharfer.runtime
from edgeharfer.runtime import errors
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.versions import ALTERNATIVES

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("runtime", "export", "training", "calib")
# What users may rely on: a name is added here on purpose, and taken away only with a new major version.
PUBLIC = {
    *("Pipeline", "load_package", "open_source", "shipped_packages", "verify_package"),
    *("Action", "Backend", "Box", "Emotion", "Face", "Frame", "Package", "Result", "Source", "TrackedFace"),
    *("Reading", "Sink", "Status", "Task", "TaskError"),
    *("CameraError", "ConfigError", "EdgeharferError", "MissingExtra", "ModelError", "ProviderError"),
    *("SinkError", "SourceError"),
}
ABOVE_THE_RUNTIME = (
    *("app", "benchmark", "calib", "chaos", "cli", "evaluate", "export", "kiosk", "report", "training"),
)
HEAVY = {
    *(
        "click",
        "cryptography",
        "keras",
        "matplotlib",
        "mediapipe",
        "onnx",
        "onnxconverter_common",
        "onnxslim",
        "paho",
    ),
    *("prometheus_client", "pypdf", "reportlab", "scipy", "sklearn", "tensorflow", "tf2onnx"),
    *(f"edgeharfer.{part}" for part in ABOVE_THE_RUNTIME),
}


def runtime_modules() -> list[str]:
    root = PROJECT / "runtime"
    files = (path.relative_to(root) for path in (root / "edgeharfer" / "runtime").rglob("*.py"))
    return sorted(".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files)


def settings() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


CONSTRAINTS = {"3.10": "constraints-3.10.txt", "3.11": "constraints.txt"}
"""By the lowest Python that each is for."""
OTHER_PYTHON = {"3.10": 'version >= "3.11"', "3.11": 'version < "3.11"'}
"""What the markers of lines for other versions say."""


def pins(file: str = "constraints.txt") -> dict[str, list[Requirement]]:
    """The entries of a file of constraints by name, without their hashes."""
    found: dict[str, list[Requirement]] = {}
    text = (PROJECT / file).read_text(encoding="utf-8")
    for line in re.findall(r"^[a-z0-9][^\\\n]*==[^\\\n]*", text, re.MULTILINE):
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def declared(python: str = "3.11") -> Iterator[Requirement]:
    """Everything that pyproject.toml asks for with a version of Python."""
    project = settings()["project"]
    extras = list(project["optional-dependencies"])
    if python == "3.10":
        makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
        extras = re.findall(r"^ON_DEVICES := (.*)", makefile, re.MULTILINE)[0].split()
    lines = [*settings()["build-system"]["requires"], *project["dependencies"]]
    lines += [line for extra in extras for line in project["optional-dependencies"][extra]]
    yield from (one for one in map(Requirement, lines) if OTHER_PYTHON[python] not in str(one.marker))


def error_classes(base: type[errors.EdgeharferError]) -> Iterator[type[errors.EdgeharferError]]:
    yield base
    for child in base.__subclasses__():
        yield from error_classes(child)


def test_the_roots_are_portions_of_one_namespace_package() -> None:
    roots = [PROJECT / root / "edgeharfer" for root in ROOTS]
    assert [str(root) for root in roots if (root / "__init__.py").exists()] == []
    assert set(settings()["tool"]["hatch"]["build"]["dev-mode-dirs"]) == set(ROOTS)
    packages = settings()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == [f"{root}/edgeharfer" for root in ROOTS]


def modules_after_importing(*names: str) -> set[str]:
    script = (
        "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_whole_runtime_loads_nothing_heavy() -> None:
    loaded = modules_after_importing(*runtime_modules())
    assert loaded.issuperset(runtime_modules())
    assert sorted(loaded & HEAVY) == []


def test_importing_the_runtime_alone_loads_none_of_its_libraries() -> None:
    assert modules_after_importing("edgeharfer.runtime").isdisjoint({"cv2", "numpy", "onnxruntime"})


def test_the_runtime_exports_what_is_promised() -> None:
    assert set(edgeharfer.runtime.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(edgeharfer.runtime, name)] == []


@pytest.mark.parametrize(
    "error", list(error_classes(errors.EdgeharferError)), ids=lambda error: error.__name__
)
def test_exit_codes(error: type[errors.EdgeharferError]) -> None:
    missing = (errors.CameraError, errors.DecoderError, errors.ProviderError)
    assert error.exit_code == (3 if issubclass(error, missing) else 2)


def test_an_error_is_told_in_one_line() -> None:
    assert str(errors.SourceError("clip.mp4:\n  no video\tin it")) == "clip.mp4: no video in it"


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtra("ONNX Runtime", "cpu")
    assert str(error) == f"ONNX Runtime is not installed: {install_command('cpu')}"


def test_the_base_and_the_extras_never_bring_two_onnx_runtimes() -> None:
    project = settings()["project"]
    extras = project["optional-dependencies"]
    holders = {
        name
        for name, lines in extras.items()
        for line in lines
        if Requirement(line).name in ("onnxruntime", *ALTERNATIVES["onnxruntime"])
    }
    assert holders == {"cpu", "gpu"}
    assert not any(line.startswith("onnxruntime") for line in project["dependencies"])


def test_no_installation_takes_two_builds_of_opencv() -> None:
    """The headless build is pinned to take the other's place, and nothing asks for it."""
    builds = {name for name in pins() if name.startswith("opencv")}
    assert builds == {"opencv-python", "opencv-python-headless"}
    assert {wanted.name for wanted in declared() if "opencv" in wanted.name} == {"opencv-python"}


@pytest.mark.parametrize("python", CONSTRAINTS)
def test_constraints_pin_what_is_asked_for(python: str) -> None:
    pinned = pins(CONSTRAINTS[python])
    for wanted in declared(python):
        found = pinned.get(canonicalize_name(wanted.name), [])
        check_pins(wanted, [one for one in found if OTHER_PYTHON[python] not in str(one.marker)])


def check_pins(wanted: Requirement, pinned: list[Requirement]) -> None:
    assert pinned, f"constraints do not know {wanted.name}: run make constraints"
    for pin in pinned:
        version = next(iter(pin.specifier)).version
        assert wanted.specifier.contains(version), f"{pin} does not fit {wanted}: run make constraints"


@pytest.mark.parametrize("file", CONSTRAINTS.values())
def test_constraints_are_hashed_and_name_no_index(file: str) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8")
    entries = re.findall(r"^[a-z0-9][^\n]*==(?:[^\n]*\\\n)*[^\n]*", text, re.MULTILINE)
    assert len(entries) == sum(map(len, pins(file).values()))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?://|--index-url|--find-links|file:", text) == []


# Task names --------------------------------------------------------------------------------------

TASK_NAMES = {"action", "emotion"}
REGISTRY = "edgeharfer/runtime/tasks/__init__.py"
ABOUT_ONE_TASK = (
    "edgeharfer/training/action/",
    "edgeharfer/training/emotion/",
    "edgeharfer/training/context/",
)


def names_in(node: ast.AST) -> set[str]:
    """The names of tasks among the items of a tuple, list, set or mapping."""
    items: list[ast.expr | None] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = [*node.elts]
    elif isinstance(node, ast.Dict):
        items = node.keys
    return {str(item.value) for item in items if isinstance(item, ast.Constant) and item.value in TASK_NAMES}


def lists_of_tasks(source: str) -> list[int]:
    """The lines that list the tasks that ship, or do something for one of them by its name."""
    lines: list[int] = []
    if not any(f"{quote}{name}{quote}" in source for name in TASK_NAMES for quote in "\"'"):
        return lines
    for node in ast.walk(ast.parse(source)):
        compared = [*node.comparators, node.left] if isinstance(node, ast.Compare) else []
        named = any(isinstance(one, ast.Constant) and one.value in TASK_NAMES for one in compared)
        if named or names_in(node) == TASK_NAMES:
            lines.append(node.lineno)  # type: ignore[attr-defined]
    return lines


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('NAMES = ("action", "emotion")', True),
        ('for name in ["emotion", "action", "pose"]: pass', True),
        ('Task = Literal["emotion", "action", "faces"]', True),
        ('MODELS = {"action": 1, "emotion": 2}', True),
        ('if package.manifest.task == "action": pass', True),
        ('if "emotion" != task: pass', True),
        ('result.readings.get("action")', False),
        ('read_table(path, ("emotion", "pixels"))', False),
    ],
)
def test_lists_of_tasks_are_recognised(source: str, found: bool) -> None:
    assert bool(lists_of_tasks(source)) == found


def test_the_registry_alone_lists_the_tasks() -> None:
    found = []
    for root in ROOTS:
        for path in sorted((PROJECT / root / "edgeharfer").rglob("*.py")):
            name = path.relative_to(PROJECT / root).as_posix()
            if name != REGISTRY and not name.startswith(ABOUT_ONE_TASK):
                found += [f"{name}:{line}" for line in lists_of_tasks(path.read_text(encoding="utf-8"))]
    assert found == []

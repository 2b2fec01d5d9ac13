"""An installation as users have it: types for mypy, `python -m edgeharfer`, the page of a package index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

import edgeharfer.runtime
from edgeharfer.cli import COMMANDS
from edgeharfer.runtime.versions import product_version

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("runtime", "export", "training", "calib")
PROGRAM = """
from edgeharfer.runtime import Pipeline, __version__, open_source
import edgeharfer.calib.tools
import edgeharfer.export.exporter
import edgeharfer.training.recipe
from edgeharfer.report.job import Job

reveal_type(Pipeline.warm_up)
reveal_type(__version__)
Pipeline(threads="two")
"""


def portions() -> list[Path]:
    """Every package directly below the namespace, but for the folder of models."""
    found = [path for root in ROOTS for path in (PROJECT / root / "edgeharfer").iterdir() if path.is_dir()]
    return [path for path in found if any(path.glob("*.py"))]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def test_every_portion_is_typed() -> None:
    assert len(portions()) == 11
    assert [path.name for path in portions() if not (path / "py.typed").is_file()] == []


def test_mypy_of_a_user_sees_the_types(tmp_path: Path) -> None:
    """PEP 561: only packages with a marker are read where they are installed."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=os.name != "nt")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    for portion in portions():
        for file in [*portion.rglob("*.py"), *portion.rglob("py.typed")]:
            target = site / "edgeharfer" / file.relative_to(portion.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / "program.py").write_text(PROGRAM)
    python = Path(sysconfig.get_path("scripts", "venv", {"base": str(environment)})) / "python"
    done = run("mypy", "--config-file=", "--python-executable", python, "program.py", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert 'Revealed type is "def (self: edgeharfer.runtime.pipeline.Pipeline)"' in lines[0]
    assert 'Revealed type is "str"' in lines[1] or 'Revealed type is "builtins.str"' in lines[1]
    assert 'Argument "threads" to "Pipeline" has incompatible type "str"' in lines[2]
    assert lines[3:] == ["Found 1 error in 1 file (checked 1 source file)"]


@pytest.mark.parametrize("module", ["edgeharfer", "edgeharfer.cli"])
def test_the_command_line_is_a_module(module: str, tmp_path: Path) -> None:
    done = run(module, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"edgeharfer, version {product_version()}\n")
    assert run(module, "run", "--help", cwd=tmp_path).stdout.startswith("Usage: edgeharfer run")
    assert run(module, "run", "--size", "1", cwd=tmp_path).returncode == 2


def test_the_version_is_that_of_the_metadata() -> None:
    assert edgeharfer.runtime.__version__ == product_version()
    assert "__version__" not in edgeharfer.runtime.__all__


def test_the_package_page_needs_nothing_beside_it() -> None:
    """Package indexes show it by itself: a relative link or picture would lead nowhere."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (PROJECT / project["readme"]).read_text(encoding="utf-8")
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")] == []
    assert "<img" not in page
    extras = set(re.findall(r"^\| `([a-z]+)`", page, re.MULTILINE)) | {"train", "export", "cpu", "gpu"}
    assert extras == set(project["optional-dependencies"]) - {"dev", "audit"}
    for command in re.findall(r"`edgeharfer ([a-z]+)|^edgeharfer ([a-z]+)", page, re.MULTILINE):
        assert "".join(command) in COMMANDS

"""An installation as users have it: types for mypy, `python -m edgeharfer`, the page of a package index."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from types import ModuleType

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
from edgeharfer.report.job import ReportJob

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
    assert len(portions()) == 12
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
    page = (PROJECT / "docs" / "package-page.md").read_text(encoding="utf-8")
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")] == []
    assert "<img" not in page
    rows = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    extras = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)} | {"cpu", "gpu"}
    assert extras == set(project["optional-dependencies"]) - {"dev", "audit"}
    for command in re.findall(r"`edgeharfer ([a-z]+)|^edgeharfer ([a-z]+)", page, re.MULTILINE):
        assert "".join(command) in COMMANDS


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://token@git.example.org/team/edgeharfer.git", "https://git.example.org/team/edgeharfer"),
        ("git@git.example.org:team/edgeharfer.git", "https://git.example.org/team/edgeharfer"),
        ("ssh://git@git.example.org:2222/team/edgeharfer", "https://git.example.org/team/edgeharfer"),
        ("/srv/edgeharfer", None),
        ("../edgeharfer.git", None),
        ("file:///srv/edgeharfer", None),
        ("https://localhost/edgeharfer", None),
        ("", None),
    ],
)
def test_the_address_is_that_of_a_public_remote(remote: str, address: str | None) -> None:
    assert publishing().public_address(remote) == address


def test_with_a_public_address_the_page_has_links_and_pictures_that_lead_there() -> None:
    address = "https://git.example.org/team/edgeharfer"
    text, urls = publishing().page(PROJECT, address)
    assert urls["Source"] == address
    assert f"![The overlay on the demo source]({address}/raw/HEAD/docs/overlay.png)" in text
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets and all(target.startswith("https://") for target in targets)
    for target in targets:
        if target.startswith(address):
            path = target.removeprefix(f"{address}/raw/HEAD/").removeprefix(f"{address}/blob/HEAD/")
            assert (PROJECT / path.partition("#")[0]).exists(), target


def test_a_wheel_and_a_source_distribution_have_the_links(tmp_path: Path) -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    copy = tmp_path / "copy"
    for name in files.decode().split("\0"):
        if name.endswith(("pyproject.toml", ".md", "LICENSE", "NOTICE", ".ci/metadata.py")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((PROJECT / name).read_bytes())
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
    remote = ["git", "remote", "add", "origin", "https://git.example.org/team/edgeharfer.git"]
    subprocess.run(remote, cwd=copy, check=True)
    assert shown_urls(copy) == ["Changelog", "Documentation", "Source"]
    done = run("hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=copy)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    assert run("tarfile", "-e", archive, tmp_path / "sdist", cwd=tmp_path).returncode == 0
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert shown_urls(unpacked) == ["Changelog", "Documentation", "Source"]


def shown_urls(folder: Path) -> list[str]:
    done = run("hatchling", "metadata", "urls", cwd=folder)
    assert done.returncode == 0, done.stderr
    return sorted(json.loads(done.stdout))


def publishing() -> ModuleType:
    """The hook that fills in the metadata."""
    spec = importlib.util.spec_from_file_location("metadata_hook", PROJECT / ".ci" / "metadata.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""What docs/deploy says is so: commands parse, extras, files and packages are there, doctor says the same."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from edgeharfer.runtime.doctor.nvidia import DRIVERS, JETPACKS, GpuAdvice
from edgeharfer.runtime.inference.providers import PROVIDERS, provider_choices
from system_parts import PARTS

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "docs" / "deploy"
CONTAINERFILE = DEPLOY / "Containerfile"
PAGES = ("jetson.md", "laptop-gpu.md", "providers.md", "container.md")
BASH = shutil.which("bash")


def page(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def shell_blocks(name: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each `edgeharfer …` in the pages, in blocks, in the midst of a line, and as a container's command."""
    for name in PAGES:
        text = page(name).replace("\\\n", " ")
        for inline in re.findall(r"`(edgeharfer [^`]*)`", text):
            yield name, shlex.split(inline)[1:]
        for block in shell_blocks(name):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                starts = [at for at, word in enumerate(words) if re.fullmatch(r"edgeharfer(:gpu)?", word)]
                if starts and words[0] in ("edgeharfer", "podman") and words[1] != "build":
                    yield name, words[starts[-1] + 1 :]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile: name and arguments."""
    lines = [line for line in page("Containerfile").splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def extras() -> dict[str, list[str]]:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = settings["project"]["optional-dependencies"]
    return found


@pytest.mark.parametrize(
    ("name", "advices"), [("jetson.md", JETPACKS), ("laptop-gpu.md", DRIVERS)], ids=["jetson", "laptop"]
)
def test_the_guides_say_what_doctor_says(name: str, advices: dict[int, GpuAdvice]) -> None:
    rows = [row for row in page(name).splitlines() if row.startswith("| ")][1:]
    assert rows == [f"| {one.name} | {one.includes} | {one.instructions} |" for one in advices.values()]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_says_what_was_tried(name: str) -> None:
    assert re.search(r"\*\*(Nothing|No run|No container engine)[^*]*\*\*", page(name))


@pytest.mark.parametrize("name", PAGES)
def test_no_line_is_long_but_for_tables_and_links_lead_somewhere(name: str) -> None:
    assert [line for line in page(name).splitlines() if len(line) > 120 and not line.startswith("|")] == []
    links = re.findall(r"\]\((?!https)([^)#]+)", page(name))
    assert [link for link in links if not (DEPLOY / link).exists()] == []


def test_every_command_of_the_pages_is_one() -> None:
    found = list(commands())
    assert len(found) >= 15
    for name, words in found:
        command: click.Command = (
            getattr(import_module(f"edgeharfer.cli.{words[0]}"), words[0]) if words else click.Command("none")
        )
        for word in words[1:]:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word for word in words if word.startswith("--")}
        assert used <= known, f"{name}: edgeharfer {' '.join(words)}"


def test_the_extras_that_the_pages_name_are_there() -> None:
    named = {extra for name in PAGES for extra in re.findall(r"edgeharfer\[([a-z,-]+)\]", page(name))}
    named |= {value for name, value in instructions() if name == "ARG" and value.startswith("EXTRAS=")}
    words = {word for text in named for word in re.findall(r"[a-z-]+", text.removeprefix("EXTRAS="))}
    assert words and words <= set(extras())


def test_the_gpu_extra_is_what_the_guide_says() -> None:
    assert "onnxruntime-gpu[cuda,cudnn]>=1.31" in extras()["gpu"][0]
    assert "`onnxruntime-gpu` 1.31 or newer" in page("laptop-gpu.md")


def test_the_page_of_providers_has_each_of_them_and_its_extra() -> None:
    lines = page("providers.md").splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("| `") and "| runs on" not in line]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    assert named == set(provider_choices()[1:])
    for name, row in PROVIDERS.items():
        if row.plugin is not None:
            assert any(f"`{name}`" in cells[0] and f"[cpu,{name}]" in cells[2] for cells in rows), name
            (wanted,) = extras()[name]
            assert wanted.startswith(row.plugin.replace("_", "-"))


@pytest.mark.skipif(BASH is None, reason="needs bash to check the syntax")
def test_all_shell_is_shell() -> None:
    runs = [value for name, value in instructions() if name == "RUN"]
    assert len(runs) == 2
    for text in (*runs, *(block for name in PAGES for block in shell_blocks(name))):
        done = subprocess.run([str(BASH), "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text


def test_the_image_runs_without_rights_and_has_no_build_tools() -> None:
    found = instructions()
    stages = [at for at, (name, _) in enumerate(found) if name == "FROM"]
    last = dict(found[stages[-1] :])
    assert len(stages) == 2
    assert last["USER"].isdecimal() and int(last["USER"]) > 0
    assert f"--uid {last['USER']} " in last["RUN"]
    assert last["COPY"] == "--from=build /opt/edgeharfer /opt/edgeharfer"
    entry = [*json.loads(last["ENTRYPOINT"]), *json.loads(last["CMD"])]
    assert entry[:4] == ["edgeharfer", "run", "--source", "demo"]


def test_what_is_copied_into_the_image_is_there() -> None:
    found = instructions()
    copied = [value.split()[:-1] for name, value in found if name == "COPY" and "--from" not in value]
    paths = [path for group in copied for path in group]
    made = [path for path in paths if path.startswith("dist/")]
    assert made == ["dist/edgeharfer-*.whl"], "what `make wheel` makes"
    assert [path for path in paths if path not in made and not (PROJECT / path).is_file()] == []


def test_the_libraries_of_the_image_are_those_that_opencv_needs_in_the_tests() -> None:
    tested = set(PARTS["OpenCV's libraries"].packages)
    run = next(value for name, value in instructions() if name == "RUN" and "apt-get" in value)
    installed = {word for word in shlex.split(run) if word.startswith("lib")}
    assert installed == {"libgl1", "libglib2.0-0", "libsm6", "libxcb1", "libxext6"} == tested


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(CONTAINERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")

"""Several sources of `edgeharfer run`, on the command line and as tables of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from edgeharfer.cli.run import make_options
from edgeharfer.cli.run import run as command
from edgeharfer.cli.sources import check_sources
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inputs import SourceSpec
from edgeharfer.runtime.run import RunOptions

TABLES = """
view = "none"

[[source]]
name = "door"
url = "rtsp://10.0.0.8/stream"
size = "1280x720"
face-rate = 5
follow-redirects = true

[[source]]
url = "clip.mp4"
fps = 12.5
decode = "cpu"
"""


def options_of(*words: str) -> RunOptions:
    return make_options(params_of(*words))


def params_of(*words: str) -> dict[str, Any]:
    return command.make_context("run", list(words)).params


def config(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_option_can_be_repeated() -> None:
    options = options_of("--source", "a.mp4", "--source", "demo")
    assert [one.spec for one in options.sources] == ["a.mp4", "demo"]
    assert [one.spec for one in options_of("--camera", "2").sources] == ["2"]
    assert [one.spec for one in options_of("--source", "demo").sources] == ["demo"]


def test_tables_of_a_file(tmp_path: Path) -> None:
    options = options_of("--config", config(tmp_path, TABLES))
    assert list(options.sources) == [
        SourceSpec(
            "rtsp://10.0.0.8/stream",
            "door",
            {"follow_redirects": True, "width": 1280, "height": 720},
            0.2,
        ),
        SourceSpec("clip.mp4", "", {"fps": 12.5, "decode": "cpu"}),
    ]


def test_the_command_line_takes_precedence(tmp_path: Path) -> None:
    options = options_of("--config", config(tmp_path, TABLES), "--source", "demo")
    assert [one.spec for one in options.sources] == ["demo"]


@pytest.mark.parametrize("text", ['source = "demo"', 'source = ["demo"]'])
def test_one_source_is_a_text_too(tmp_path: Path, text: str) -> None:
    options = options_of("--config", config(tmp_path, text))
    assert [one.spec for one in options.sources] == ["demo"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[source]]\nname = "x"', "source 1: url is missing"),
        ('[[source]]\nurl = "demo"\nsise = "9x9"', "source 1: unknown key 'sise'; did you mean 'size'"),
        ('[[source]]\nurl = "demo"\n[[source]]\nurl = 4', "source 2: url: must be a non-empty string"),
        ('[[source]]\nurl = "demo"\nsize = "9"', "source 1: size: '9' is not WIDTHxHEIGHT"),
        ('[[source]]\nurl = "demo"\nface-rate = true', "source 1: face-rate"),
        ('[[source]]\nurl = "ftp://x/y"', "source 1: ftp://x/y: not a supported source"),
        ('[[source]]\nurl = "demo"\nview = "none"', "source 1: unknown key 'view'"),
        ("source = 3", "source: must be a list"),
    ],
)
def test_an_error_in_a_table_names_it(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("(", "\\(")):
        params_of("--config", config(tmp_path, text))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--save", "x.mp4"], "--save takes one source"),
        (["--record", "x.rec"], "--record takes one source"),
        (["--hold"], "--hold takes one source"),
    ],
)
def test_what_takes_one_source_is_refused(words: list[str], told: str) -> None:
    params = params_of("--source", "demo", "--source", "demo", *words)
    with pytest.raises(click.UsageError, match=told):
        check_sources(params["source"], params)
    check_sources(params["source"][:1], params)


@pytest.mark.parametrize("names", [("x", "x"), ("all", "y")])
def test_names_are_told_apart(names: tuple[str, str]) -> None:
    params = params_of()
    with pytest.raises(click.UsageError, match="choose another name"):
        check_sources([SourceSpec("demo", name) for name in names], params)

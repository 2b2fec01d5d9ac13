"""`models keygen`, `sign` and `--require-signature`, as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_models
import tiny_patterns
from edgeharfer.cli import run_command

pytest.importorskip("cryptography", reason="needs the sign extra")


def models(*arguments: str | Path) -> int:
    return run_command(["models", *map(str, arguments)])


def test_from_a_key_to_a_package_that_is_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tiny_models.emotion_package(tmp_path / "p").path
    key, public = tmp_path / "key", tmp_path / "key.pub"
    assert models("keygen", key) == 0
    assert models("verify", package, "--require-signature", public) == 2
    assert "not signed" in capsys.readouterr().err
    assert models("sign", package, "--key", key) == 0
    assert models("verify", package, "--require-signature", public) == 0
    assert "1 model file verified, signed" in capsys.readouterr().out
    (package / "manifest.json").write_bytes((package / "manifest.json").read_bytes() + b" ")
    assert models("verify", package) == 0
    assert models("verify", package, "--require-signature", public) == 2
    assert "was modified" in capsys.readouterr().err


def test_a_signed_card_is_shown_only_as_it_was_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_models.emotion_package(tmp_path / "p").path
    (package / "MODELCARD.md").write_text("a card\n")
    assert models("keygen", tmp_path / "key") == models("sign", package, "--key", tmp_path / "key") == 0
    capsys.readouterr()
    assert models("info", package, "--card") == 0
    assert capsys.readouterr().out == "a card\n"
    (package / "MODELCARD.md").write_text("A card\n")
    assert models("info", package, "--card") == 2
    assert "damaged" in capsys.readouterr().err


def test_only_a_signed_package_is_installed_where_one_is_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    package = tiny_patterns.picture_package(tmp_path / "package").path
    assert models("keygen", tmp_path / "key") == models("keygen", tmp_path / "other") == 0
    where = ("--config", tmp_path / "none.toml", "--state", tmp_path / "state")
    required = ("--require-signature", tmp_path / "key.pub")
    assert models("install", package, *where, *required) == 2
    assert models("sign", package, "--key", tmp_path / "other") == 0
    assert models("install", package, *where, *required) == 2
    assert not any((tmp_path / "state").rglob("*.onnx"))
    assert models("sign", package, "--key", tmp_path / "key") == 0
    capsys.readouterr()
    assert models("install", package, *where, *required) == 0
    assert "ms per inference" in capsys.readouterr().out

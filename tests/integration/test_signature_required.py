"""`--require-signature` where packages are used: a run, the kiosk and what it installs, the app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_models
import tiny_patterns
from app_parts import App, running, write_clip
from edgeharfer.cli import run_command
from edgeharfer.cli.app import app as app_command
from edgeharfer.cli.app import make_settings
from edgeharfer.kiosk.config import default_config, load_config
from edgeharfer.kiosk.models import ModelSelection, load_pipeline
from edgeharfer.kiosk.update import current_package
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.package import sign_package, verify_package
from edgeharfer.runtime.inference.signature import SIGNATURE, generate_key_pair

pytest.importorskip("cryptography", reason="needs the sign extra")
pytest.importorskip("reportlab", reason="needs the app extra")

RUN = ["run", "--source", "demo", "--max-frames", "2", "--view", "none", "--pace", "fast", "--action", "off"]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return generate_key_pair(tmp_path / "key")


def test_a_run_takes_only_what_is_signed(
    tmp_path: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_models.emotion_package(tmp_path / "p").path
    required = [*RUN, "--emotion", str(folder), "--require-signature", str(public)]
    assert run_command(required) == 2
    assert "not signed" in capsys.readouterr().err
    sign_package(folder, tmp_path / "key")
    assert run_command(required) == 0
    assert run_command([*RUN, "--emotion", "emotion-fer8", "--require-signature", str(public)]) == 2


def test_the_configuration_can_ask_for_it(
    tmp_path: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'require-signature = "{public}"\n')
    assert run_command([*RUN, "--config", str(config)]) == 2
    assert "not signed" in capsys.readouterr().err


def install(package: Path, state: Path, *options: str) -> int:
    state.mkdir(exist_ok=True)
    return run_command(["models", "install", str(package), "--state", str(state), *options])


def test_what_is_installed_keeps_its_signature_and_the_kiosk_asks_for_it(
    tmp_path: Path, public: Path
) -> None:
    package, state, config = tmp_path / "p", tmp_path / "state", tmp_path / "kiosk.toml"
    tiny_patterns.picture_package(package)
    (package / "MODELCARD.md").write_text("a card")
    config.write_text(f'[models]\nrequire_signature = "{public}"\naction = "off"\ndetector = "blazeface"\n')
    settings = load_config(config)
    task = verify_package(package).manifest.task
    assert install(package, state, "--config", str(config)) == 2
    sign_package(package, tmp_path / "key")
    assert install(package, state, "--config", str(config)) == 0
    folder = current_package(state, task)
    assert folder is not None
    verify_package(folder, require_signature=public)
    selection = ModelSelection(**{"action": None, "emotion": None, task: str(folder)})
    load_pipeline(settings, selection, SystemClock())
    (folder / SIGNATURE).unlink()
    with pytest.raises(ModelError, match="not signed"):
        load_pipeline(settings, selection, SystemClock())
    assert default_config().models.signature_key is None


def test_a_link_in_a_package_takes_nothing_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text("not yours")
    package = tiny_patterns.picture_package(tmp_path / "p").path
    (package / "MODELCARD.md").unlink(missing_ok=True)
    (package / "MODELCARD.md").symlink_to(tmp_path / "secret")
    assert install(package, tmp_path / "state", "--config", str(tmp_path / "none.toml")) == 2
    assert "MODELCARD.md" in capsys.readouterr().err
    assert not any(path.is_file() for path in (tmp_path / "state").rglob("*"))


@pytest.fixture
def signed_app(tmp_path: Path, public: Path) -> Iterator[tuple[App, Path]]:
    """The app as `app --require-signature` starts it, and the folder of its signed package."""
    folder = tiny_models.emotion_package(tmp_path / "p").path
    sign_package(folder, tmp_path / "key")
    words = ["--action", "off", "--emotion", str(folder), "--require-signature", str(public)]
    options = app_command.make_context("app", words).params
    with running(tmp_path / "uploads", make_settings(options)) as app:
        yield app, folder


def test_the_app_analyses_uploads_with_signed_packages_only(
    tmp_path: Path, signed_app: tuple[App, Path]
) -> None:
    app, folder = signed_app
    clip = write_clip(tmp_path / "clip.webm").read_bytes()
    state = app.finished(app.upload(clip).json["id"])
    assert (state["phase"], state["error"]) == ("done", "")
    (folder / SIGNATURE).unlink()
    state = app.finished(app.upload(clip).json["id"])
    assert state["phase"] == "failed" and "not signed" in state["error"]

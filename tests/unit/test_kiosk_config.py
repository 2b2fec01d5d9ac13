"""The kiosk's configuration: what ships is whole, what is wrong is named."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest

from edgeharfer.kiosk.config import KioskConfig, TextConfig, default_config, default_text, load_config
from edgeharfer.kiosk.privacy import check_purpose
from edgeharfer.runtime.config import read_toml
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import shipped_packages
from edgeharfer.runtime.tasks import PACKAGE_TASKS
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(folder: Path, text: str) -> KioskConfig:
    path = folder / "kiosk.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_the_file_as_shipped_says_the_defaults() -> None:
    assert default_config() == KioskConfig()


def test_the_file_as_shipped_loads_from_disk(tmp_path: Path) -> None:
    assert load(tmp_path, default_text()) == KioskConfig()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == KioskConfig()


def texts_of(config: KioskConfig) -> dict[str, object]:
    """Every text that a visitor may read."""
    shown = {name: value for name, value in asdict(config.text).items() if name != "labels"}
    return {
        **shown,
        "title": config.screen.title,
        "message": config.screen.message,
        "notice": config.privacy.notice,
    }


@pytest.mark.parametrize("language", ["de", "fr"])
def test_each_sample_translates_every_text_and_every_label(language: str) -> None:
    path = EXAMPLES / f"kiosk-{language}.toml"
    found = load_config(path)
    assert found.text.language == language
    assert set(read_toml(path)["text"]) == {field.name for field in fields(TextConfig)}
    english, translated = texts_of(KioskConfig()), texts_of(found)
    assert [name for name, text in translated.items() if not text or text == english[name]] == []
    manifests = [package.manifest for package in shipped_packages() if package.manifest.task in PACKAGE_TASKS]
    labels = {label for manifest in manifests for label in manifest.labels} | {UNCERTAIN, BACKGROUND}
    assert set(found.text.labels) == labels


@pytest.mark.parametrize("view", ["page", "window", "none"])
def test_every_view_that_older_files_name_loads(tmp_path: Path, view: str) -> None:
    assert load(tmp_path, f"[screen]\nview = '{view}'").screen.view == view


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sight]\nname = 'a'", "did you mean 'site'"),
        ("[site]\nnamed = 'a'", "site.named|unknown key 'named'"),
        ("[site]\nname = 'Shop One'", "site.name"),
        ("[site]\npurpose = 'fun'", "site.purpose"),
        ("[mqtt]\nport = 0", "mqtt.port"),
        ("[mqtt]\nprefix = 'a/#'", "mqtt.prefix"),
        ("[mqtt]\nca_file = '/etc/ca.pem'", "mqtt.tls"),
        ("[mqtt]\nhost = '192.168.1.20'\nusername = 'k'", "mqtt.tls = true"),
        ("[mqtt]\nhost = 'broker.example'", "network.allow"),
        ("[source]\nsource = 'rtsp://camera.example/1'", "camera.example is a host name"),
        ("[source]\nsource = 'rtsp://u:[PW]@camera/1'", "camera is a host name"),
        (
            "[source]\nsource = 'rtsp://u:PW@camera:99999/1'",
            r"source: rtsp://\*\*\*@camera:99999/1: invalid URL",
        ),
        (
            "[source]\nsource = 'ftp://u:PW@camera/1'",
            r"source: ftp://\*\*\*@camera/1: not a supported source",
        ),
        ("[source]\ncamera = ''", "source: .*empty"),
        ("[network]\nallow = ['192.168.1.7/24']", "host bits"),
        ("[privacy]\nrecord = true", "stores no pictures"),
        ("[privacy]\nignore_zones = [[0, 0, 2, 1]]", "ignore_zones"),
        ("[screen]\nturn = 45", "screen.turn"),
        ("[text]\nagreed = 'x'", "text.agreed|unknown key 'agreed'"),
        ("[text]\nlanguage = 'German'", "text.language"),
        ("[text.labels]\nhappy = 3", "text.labels.happy"),
        ("[models]\ntasks = ['gait']", "models.tasks.*headpose"),
        ("site = 3", "site"),
        ("[site", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "kiosk.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("purpose", ["workplace", "education"])
def test_emotions_at_work_and_at_school_are_refused_with_the_law(tmp_path: Path, purpose: str) -> None:
    config = load(tmp_path, f"[site]\npurpose = '{purpose}'")
    with pytest.raises(ConfigError) as caught:
        check_purpose(config)
    for words in ("2024/1689", "Art. 5(1)(f)", "50(3)", "Seek legal advice", purpose):
        assert words in str(caught.value)


def test_actions_alone_may_run_at_work(tmp_path: Path) -> None:
    config = load(tmp_path, "[site]\npurpose = 'workplace'\n[models]\nemotion = 'off'")
    check_purpose(config)
    assert config.models.emotion == "off"

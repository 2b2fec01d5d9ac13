"""`edgeharfer kiosk` as a person meets it: installed, run, stopped, removed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeharfer.cli.kiosk import kiosk
from edgeharfer.kiosk.probe import fetch
from edgeharfer.runtime.errors import ConfigError
from kiosk_broker import free_port
from tiny_models import action_package, emotion_package

RUN = "import sys; from edgeharfer.cli.kiosk import kiosk; kiosk(sys.argv[1:], prog_name='kiosk')"


def test_a_dry_run_shows_all_and_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(kiosk, ["install", "--dry-run", "--root", str(tmp_path)])
    assert done.exit_code == 0
    for words in ("Type=notify", "IPAddressDeny=any", "[privacy]", "the state folder"):
        assert words in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_with_a_browser_shows_its_unit_too(tmp_path: Path) -> None:
    words = ["install", "--dry-run", "--browser", "/usr/bin/chromium", "--root", str(tmp_path)]
    done = CliRunner().invoke(kiosk, words)
    assert done.exit_code == 0
    assert f"# {tmp_path}/etc/systemd/user/edgeharfer-kiosk-browser.service" in done.output
    assert "ExecStart=/usr/bin/chromium --kiosk " in done.output
    assert list(tmp_path.iterdir()) == []


def test_status_of_nothing_is_not_ready(tmp_path: Path) -> None:
    done = CliRunner().invoke(kiosk, ["status", "--root", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.count("not installed") == 2


def test_status_works_for_who_may_not_read_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "etc" / "edgeharfer" / "kiosk.toml"
    config.parent.mkdir(parents=True)
    config.write_text("not even TOML", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda path, mode: path != config)
    monkeypatch.setattr("edgeharfer.kiosk.probe.fetch", lambda port, path: (200, f"ready at {port}{path}"))
    done = CliRunner().invoke(kiosk, ["status", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "installed, readable by root only (use sudo); assuming port 9464" in done.output
    assert "ready at 9464/readyz" in done.output


def test_a_workplace_is_refused_when_it_is_started(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    config = tmp_path / "kiosk.toml"
    config.write_text("[site]\npurpose = 'workplace'\n", encoding="utf-8")
    done = CliRunner().invoke(kiosk, ["run", "--config", str(config), "--state", str(tmp_path / "state")])
    assert isinstance(done.exception, ConfigError)
    assert "Art. 5(1)(f)" in str(done.exception)
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")
def test_the_service_tells_systemd_and_ends_at_sigterm(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    port = free_port()
    config = tmp_path / "kiosk.toml"
    config.write_text(
        f"[source]\nsource = 'demo'\n[health]\nport = {port}\n[privacy]\nnotice_required = false\n"
        f"[models]\naction = '{action_package(tmp_path / 'action').path}'\n"
        f"emotion = '{emotion_package(tmp_path / 'emotion').path}'\n",
        encoding="utf-8",
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "1000000",
        }
        words = [
            sys.executable,
            "-c",
            RUN,
            "run",
            "--config",
            str(config),
            "--state",
            str(tmp_path / "state"),
        ]
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as service:
            try:
                heard = listen_until(manager, "WATCHDOG=1", 3)
                assert heard[0].startswith("READY=1")
                assert "STATUS=source live" in heard
                wait_until_ready(port)
                assert "edgeharfer_frames_total" in fetch(port, "/metrics")[1]
            finally:
                service.send_signal(signal.SIGTERM)
            listen_until(manager, "STOPPING=1", 1)
            assert service.wait(30) == 0
            assert service.stderr is not None and "Traceback" not in service.stderr.read()
    assert (tmp_path / "state" / "starts").read_text(encoding="ascii") == "1\n"
    assert not (tmp_path / "state" / "outbox.db").exists()


def listen_until(manager: socket.socket, word: str, times: int) -> list[str]:
    heard: list[str] = []
    while heard.count(word) < times:
        heard.append(manager.recv(4096).decode())
    return heard


def wait_until_ready(port: int) -> None:
    for _ in range(600):
        code, text = fetch(port, "/readyz")
        if code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(json.loads(text)["lack"])

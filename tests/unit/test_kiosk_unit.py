"""The systemd unit: systemd's own tools find nothing wrong with it and little exposed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeharfer.kiosk.config import (
    KioskConfig,
    ModelsConfig,
    MqttConfig,
    NetworkConfig,
    ScreenConfig,
    SourceConfig,
)
from edgeharfer.kiosk.unit import BROWSER_NAME, NAME, browser_unit_text, unit_text

CONFIGS = {
    "default": KioskConfig(),
    "broker": KioskConfig(
        mqtt=MqttConfig(host="192.168.1.20", tls=True, username="k", password_file="/etc/edgeharfer/password")
    ),
    "network": KioskConfig(
        source=SourceConfig(source="rtsp://10.0.0.9/1"),
        network=NetworkConfig(("10.0.0.0/24",)),
        screen=ScreenConfig(view="window"),
    ),
    "gpu": KioskConfig(models=ModelsConfig(provider="cuda")),
}
needs_systemd = pytest.mark.needs("systemd-analyze")


def write_unit(folder: Path, config: KioskConfig) -> Path:
    path = folder / NAME
    path.write_text(
        unit_text(config, Path(sys.executable), Path("/etc/edgeharfer/kiosk.toml")), encoding="utf-8"
    )
    return path


def settings(config: KioskConfig) -> list[str]:
    text = unit_text(config, Path("/opt/edgeharfer/bin/edgeharfer"), Path("/etc/edgeharfer/kiosk.toml"))
    return [line for line in text.splitlines() if line and line[0] not in "#["]


@needs_systemd
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_systemd_finds_nothing_wrong(tmp_path: Path, config: KioskConfig) -> None:
    words = ["systemd-analyze", "verify", str(write_unit(tmp_path, config))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if NAME in line]) == (0, [])


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_browsers_unit(tmp_path: Path) -> None:
    path = tmp_path / BROWSER_NAME
    path.write_text(browser_unit_text(KioskConfig(), sys.executable), encoding="utf-8")
    words = ["systemd-analyze", "--user", "verify", str(path)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, [line for line in done.stderr.splitlines() if BROWSER_NAME in line]) == (0, [])


@needs_systemd
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_systemd_calls_it_little_exposed(tmp_path: Path, config: KioskConfig) -> None:
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(write_unit(tmp_path, config))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= 2.0


def test_what_must_stand_in_it_does() -> None:
    lines = settings(KioskConfig())
    for line in [
        "Type=notify", "WatchdogSec=10", "Restart=always", "StartLimitIntervalSec=0", "NoNewPrivileges=yes",
        "ProtectSystem=strict", "StateDirectory=edgeharfer", "DeviceAllow=char-video4linux rw",
        "MemoryMax=1024M", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "IPAddressDeny=any",
        "IPAddressAllow=localhost", "User=edgeharfer", "LimitCORE=0",
        "LoadCredential=kiosk.toml:/etc/edgeharfer/kiosk.toml",
    ]:  # fmt: skip
        assert line in lines


@pytest.mark.parametrize(
    ("systemd", "pauses"),
    [
        (0, ["RestartSec=5"]),
        (253, ["RestartSec=5"]),
        (254, ["RestartSec=2", "RestartSteps=5", "RestartMaxDelaySec=30"]),
    ],
)
def test_restarts_never_end_and_their_pauses_grow_where_systemd_can(systemd: int, pauses: list[str]) -> None:
    text = unit_text(KioskConfig(), Path("/opt/e"), Path("/etc/k.toml"), systemd=systemd)
    assert re.findall(r"^Restart\w*(?:Sec|Steps)=.*$", text, re.MULTILINE) == pauses
    assert "StartLimitIntervalSec=0" in text and "StartLimitBurst" not in text


def test_only_what_is_configured_can_be_reached() -> None:
    assert "IPAddressAllow=localhost 192.168.1.20" in settings(CONFIGS["broker"])
    assert "IPAddressAllow=localhost 10.0.0.9 10.0.0.0/24" in settings(CONFIGS["network"])


def test_the_password_is_handed_over_by_systemd() -> None:
    assert "LoadCredential=mqtt-password:/etc/edgeharfer/password" in settings(CONFIGS["broker"])
    assert not any(line.startswith("LoadCredential=mqtt") for line in settings(KioskConfig()))
    odd = KioskConfig(mqtt=MqttConfig(password_file="/etc/my kiosk/100%"))
    assert "LoadCredential=mqtt-password:/etc/my kiosk/100%%" in settings(odd)


def test_a_gpu_opens_its_devices_and_no_more() -> None:
    devices = [line for line in settings(CONFIGS["gpu"]) if line.startswith("DeviceAllow")]
    assert len(devices) == 4
    assert "MemoryDenyWriteExecute=yes" not in settings(CONFIGS["gpu"])
    assert "MemoryDenyWriteExecute=yes" in settings(KioskConfig())


def test_openvino_may_compile_kernels_and_opens_npus() -> None:
    lines = settings(KioskConfig(models=ModelsConfig(provider="openvino:NPU")))
    assert "DeviceAllow=char-accel rw" in lines
    assert "MemoryDenyWriteExecute=yes" not in lines


def test_a_path_with_a_space_stays_one_word() -> None:
    text = unit_text(KioskConfig(), Path("/opt/my kiosk/100%/edgeharfer"), Path("/etc/k.toml"))
    assert 'ExecStart="/opt/my kiosk/100%%/edgeharfer" kiosk run --config /etc/k.toml' in text


def test_limits_come_from_the_configuration() -> None:
    config = KioskConfig()
    lines = settings(replace(config, limits=replace(config.limits, memory_mb=512, watchdog_s=30)))
    assert "MemoryMax=512M" in lines and "WatchdogSec=30" in lines

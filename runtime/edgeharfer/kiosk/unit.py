"""The systemd units of the kiosk, sandboxed to what the configuration needs."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.kiosk.config import KioskConfig, is_address, remote_hosts
from edgeharfer.runtime.inference.backend import AUTO

NAME = "edgeharfer-kiosk.service"
BROWSER_NAME = "edgeharfer-kiosk-browser.service"
BROWSER_OPTIONS = "--kiosk --noerrdialogs --disable-session-crashed-bubble --no-first-run"
USER = "edgeharfer"
CONFIG_CREDENTIAL = "kiosk.toml"
MIN_SYSTEMD = 247
"""The first version with LoadCredential."""
RESTART_STEPS_SYSTEMD = 254
"""The first version with RestartSteps."""
MARK = "# Written by `edgeharfer kiosk install`"

_UNIT = """\
{mark}; put changes into a drop-in (systemctl edit {name}).
[Unit]
Description=edgeharfer kiosk: action and emotion recognition
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} kiosk run --config {config}
WatchdogSec={watchdog_s}
TimeoutStartSec=90
TimeoutStopSec=5
Restart=always
{pauses}
# No core dumps: memory contains pictures
LimitCORE=0

# A temporary user, created at start and removed at stop
DynamicUser=yes
User={user}
SupplementaryGroups={groups}
StateDirectory=edgeharfer
StateDirectoryMode=0700
UMask=0077
Environment=HOME=%S/edgeharfer PYTHONDONTWRITEBYTECODE=1
{credentials}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
{write_execute}
# Read-only file system, except for the state folder
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
RemoveIPC=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes

# Only cameras in /dev
DevicePolicy=closed
{devices}

MemoryMax={memory_mb}M
TasksMax=128

# Network: this machine, and the configured addresses
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
IPAddressDeny=any
IPAddressAllow={addresses}

[Install]
WantedBy=multi-user.target
"""

_BROWSER_UNIT = """\
{mark}; put changes into a drop-in (systemctl --user edit {name}).
[Unit]
Description=edgeharfer kiosk: the page on the screen
PartOf=graphical-session.target
After=graphical-session.target
StartLimitIntervalSec=0

[Service]
ExecStart={browser} {options} http://127.0.0.1:{port}/
Restart=always
RestartSec=2

[Install]
WantedBy=graphical-session.target
"""


def unit_text(config: KioskConfig, program: Path, config_path: Path, *, systemd: int = 0) -> str:
    """The unit of the service.

    Args:
        config: The configuration.
        program: The `edgeharfer` command, absolute.
        config_path: Path of the configuration file on the installed system.
        systemd: Version of systemd; 0 if unknown.
    """
    gpu = config.models.provider not in (AUTO, "cpu")
    text = _UNIT.format(
        mark=MARK,
        name=NAME,
        user=USER,
        program=_escape(program),
        config=_escape(config_path),
        watchdog_s=config.limits.watchdog_s,
        memory_mb=config.limits.memory_mb,
        groups="video render" if gpu else "video",
        pauses=_restart_delays(systemd),
        credentials=_credentials(config, config_path),
        # Other providers than the CPU compile kernels at run time.
        write_execute="" if gpu else "MemoryDenyWriteExecute=yes\n",
        devices="\n".join(f"DeviceAllow={one} rw" for one in _devices(config.models.provider)),
        addresses=" ".join(["localhost", *allowed_addresses(config)]),
    )
    return text.replace("\n\n\n", "\n\n")


def browser_unit_text(config: KioskConfig, browser: str) -> str:
    """The user unit that shows the page, for the command of a Chromium-based browser."""
    return _BROWSER_UNIT.format(
        mark=MARK,
        name=BROWSER_NAME,
        browser=_escape(Path(browser)),
        options=BROWSER_OPTIONS,
        port=config.health.port,
    )


def allowed_addresses(config: KioskConfig) -> list[str]:
    """Addresses and networks that the service may connect to besides this machine."""
    named = [host for host in remote_hosts(config) if is_address(host)]
    return list(dict.fromkeys([*named, *config.network.allow]))


def _devices(provider: str) -> list[str]:
    cameras = ["char-video4linux"]
    if provider in (AUTO, "cpu"):
        return cameras
    npus = ["char-accel"] if provider.startswith("openvino") else []
    return [*cameras, "char-nvidia-frontend", "char-nvidia-uvm", "char-drm", *npus]


def _restart_delays(systemd: int) -> str:
    """The delay between restarts: increasing if systemd supports it, else constant."""
    if systemd >= RESTART_STEPS_SYSTEMD:
        return "RestartSec=2\nRestartSteps=5\nRestartMaxDelaySec=30\n"
    return "RestartSec=5\n"


def _credentials(config: KioskConfig, config_path: Path) -> str:
    """LoadCredential lines for files that only root can read; the path extends to the end of the line."""
    files = {CONFIG_CREDENTIAL: str(config_path), "mqtt-password": config.mqtt.password_file}
    lines = [f"LoadCredential={name}:{path.replace('%', '%%')}\n" for name, path in files.items() if path]
    return "".join(lines)


def _escape(path: Path) -> str:
    """Quote a path for ExecStart, where systemd.unit(5) expands % and splits at spaces."""
    text = str(path).replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{text}"' if " " in text else text

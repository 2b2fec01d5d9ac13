"""Installation of the service: a unit, the configuration, the state folder, and a unit for the browser."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgeharfer.kiosk.config import KioskConfig, default_config, default_text, load_config
from edgeharfer.kiosk.privacy import check_purpose
from edgeharfer.kiosk.unit import BROWSER_NAME, MIN_SYSTEMD, NAME, browser_unit_text, unit_text
from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.staging import write_durable

HIDDEN_FOLDERS = ("/home", "/root", "/tmp", "/var/tmp", "/run/user")
"""Folders that the unit's own protection hides from the service."""

T = TypeVar("T")
Command = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class InstallPaths:
    """Where things go. root: "/", or a folder that stands for it."""

    root: Path = Path("/")

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system" / NAME

    @property
    def browser_unit(self) -> Path:
        """The unit for the user of the desktop, which shows the page."""
        return self.root / "etc/systemd/user" / BROWSER_NAME

    @property
    def config(self) -> Path:
        return self.root / "etc/edgeharfer/kiosk.toml"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/edgeharfer"

    @property
    def private_state(self) -> Path:
        """Where systemd really keeps the state of a service with DynamicUser."""
        return self.root / "var/lib/private/edgeharfer"

    def installed(self, path: Path) -> Path:
        """The path as the installed system will see it."""
        return Path("/") / path.relative_to(self.root)


def plan_files(paths: InstallPaths, program: Path, browser: str = "") -> dict[Path, str]:
    """Path -> text of what `install` writes; a configuration that is there already stays as it is.

    browser: the command of the browser that a further unit starts; "" for no such unit.
    Raises ConfigError for a configuration that cannot be used.
    """
    present = paths.config.is_file()
    config = load_config(paths.config) if present else default_config()
    check_purpose(config)
    unit = unit_text(config, program, paths.installed(paths.config), systemd=systemd_version(paths))
    texts = {paths.unit: unit}
    if not present:
        texts[paths.config] = default_text()
    if browser:
        texts[paths.browser_unit] = browser_unit_text(config, browser)
    return texts


def install(paths: InstallPaths, program: Path, run: Command, browser: str = "") -> list[str]:
    """Write the files, make the state folder, and have systemd enable and start it. Returns what was done.

    The configuration may hold passwords and is for root alone; systemd hands a copy to the service.
    """
    check_program(program)
    check_systemd(systemd_version(paths))
    done = []
    for path, content in plan_files(paths, program, browser).items():
        attempt(path, partial(_write, path, content, 0o600 if path == paths.config else 0o644))
        done.append(f"wrote {path}")
    if browser:
        done.append(f"as the user of the desktop: systemctl --user enable --now {BROWSER_NAME}")
    if attempt(paths.config, partial(_hide_from_others, paths.config)):
        done.append(f"made {paths.config} unreadable for other users")
    attempt(paths.private_state, lambda: _make_state(paths))
    done.append(f"made {paths.state}")
    if systemd_runs(paths):
        for arguments in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
            run(["systemctl", *arguments])
        return [*done, f"enabled and started {NAME}"]
    return [*done, f"systemd does not run here: on the device, systemctl enable --now {NAME}"]


def systemd_runs(paths: InstallPaths) -> bool:
    """Whether systemd runs here and these paths are its own (sd_booted(3))."""
    return paths.root == Path("/") and Path("/run/systemd/system").is_dir()


def systemd_version(paths: InstallPaths) -> int:
    """Of the systemd that is going to read the unit; 0 where that is not known."""
    if not systemd_runs(paths):
        return 0
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


def check_systemd(version: int) -> None:
    """Raise ConfigError for a version that could not hand the configuration to the service."""
    if 0 < version < MIN_SYSTEMD:
        raise ConfigError(
            f"systemd {version} is too old for the service, which needs {MIN_SYSTEMD} or newer; update "
            "the system, or run the kiosk as a container (docs/deploy/container.md)"
        )


def check_program(program: Path) -> None:
    """Raise ConfigError unless the service will be able to start this command."""
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise ConfigError(f"{program}: there is no such command; install edgeharfer into this environment")
    interpreter = program.with_name("python").resolve()
    pairs = [(path, folder) for path in (program, interpreter) for folder in HIDDEN_FOLDERS]
    for path, folder in (pair for pair in pairs if pair[0].is_relative_to(pair[1])):
        raise ConfigError(
            f"{path}: the service sees nothing below {folder}; install edgeharfer into a virtual "
            "environment under /opt, such as /opt/edgeharfer, and run its `edgeharfer kiosk install`"
        )


def run_command(arguments: Sequence[str]) -> None:
    """Run a command of the system. Raises SinkError with its last line where it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise SinkError(f"{' '.join(arguments)}: {reason}")


def configuration(paths: InstallPaths) -> KioskConfig | None:
    """What is installed, None where nothing is."""
    return load_config(paths.config) if paths.config.is_file() else None


def _write(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durable(path, content.encode(), mode)


def _hide_from_others(path: Path) -> bool:
    """Take every right from those who are neither owner nor group; whether they had any."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IRWXO:
        return False
    path.chmod(mode & ~stat.S_IRWXO)
    return True


def _make_state(paths: InstallPaths) -> None:
    """As systemd makes it: private/NAME, and NAME a link to it."""
    paths.private_state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.private_state.mkdir(mode=0o700, exist_ok=True)
    if not (paths.state.is_symlink() or paths.state.exists()):
        paths.state.symlink_to(Path("private") / paths.state.name)


def attempt(path: Path, action: Callable[[], T]) -> T:
    """What an action on a path returns. Raises SinkError."""
    try:
        return action()
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror or error}; run it as root (sudo)") from error

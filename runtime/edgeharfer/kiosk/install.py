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
from edgeharfer.kiosk.unit import BROWSER_NAME, NAME, OLDEST_SYSTEMD, browser_unit_text, unit_text
from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.staging import write_durable

HIDDEN = ("/home", "/root", "/tmp", "/var/tmp", "/run/user")
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

    def of_system(self, path: Path) -> Path:
        """The path as the installed system will see it."""
        return Path("/") / path.relative_to(self.root)


def plan(places: InstallPaths, program: Path, browser: str = "") -> dict[Path, str]:
    """Path -> text of what `install` writes; a configuration that is there already stays as it is.

    browser: the command of the browser that a further unit starts; "" for no such unit.
    Raises ConfigError for a configuration that cannot be used.
    """
    present = places.config.is_file()
    config = load_config(places.config) if present else default_config()
    check_purpose(config)
    unit = unit_text(config, program, places.of_system(places.config), systemd=systemd_version(places))
    texts = {places.unit: unit}
    if not present:
        texts[places.config] = default_text()
    if browser:
        texts[places.browser_unit] = browser_unit_text(config, browser)
    return texts


def install(places: InstallPaths, program: Path, run: Command, browser: str = "") -> list[str]:
    """Write the files, make the state folder, and have systemd enable and start it. Returns what was done.

    The configuration may hold passwords and is for root alone; systemd hands a copy to the service.
    """
    check_program(program)
    check_systemd(systemd_version(places))
    done = []
    for path, content in plan(places, program, browser).items():
        attempt(path, partial(_write, path, content, 0o600 if path == places.config else 0o644))
        done.append(f"wrote {path}")
    if browser:
        done.append(f"as the user of the desktop: systemctl --user enable --now {BROWSER_NAME}")
    if attempt(places.config, partial(_hide_from_others, places.config)):
        done.append(f"made {places.config} unreadable for other users")
    attempt(places.private_state, lambda: _make_state(places))
    done.append(f"made {places.state}")
    if manages(places):
        for words in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
            run(["systemctl", *words])
        return [*done, f"enabled and started {NAME}"]
    return [*done, f"systemd does not run here: on the device, systemctl enable --now {NAME}"]


def manages(places: InstallPaths) -> bool:
    """Whether systemd runs here and these places are its own (sd_booted(3))."""
    return places.root == Path("/") and Path("/run/systemd/system").is_dir()


def systemd_version(places: InstallPaths) -> int:
    """Of the systemd that is going to read the unit; 0 where that is not known."""
    if not manages(places):
        return 0
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


def check_systemd(version: int) -> None:
    """Raise ConfigError for a version that could not hand the configuration to the service."""
    if 0 < version < OLDEST_SYSTEMD:
        raise ConfigError(
            f"systemd {version} is too old for the service, which needs {OLDEST_SYSTEMD} or newer; update "
            "the system, or run the kiosk as a container (docs/deploy/container.md)"
        )


def check_program(program: Path) -> None:
    """Raise ConfigError unless the service will be able to start this command."""
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise ConfigError(f"{program}: there is no such command; install edgeharfer into this environment")
    interpreter = program.with_name("python").resolve()
    pairs = [(path, folder) for path in (program, interpreter) for folder in HIDDEN]
    for path, folder in (pair for pair in pairs if pair[0].is_relative_to(pair[1])):
        raise ConfigError(
            f"{path}: the service sees nothing below {folder}; install edgeharfer into a virtual "
            "environment under /opt, such as /opt/edgeharfer, and run its `edgeharfer kiosk install`"
        )


def run_command(words: Sequence[str]) -> None:
    """Run a command of the system. Raises SinkError with its last line where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise SinkError(f"{' '.join(words)}: {reason}")


def configuration(places: InstallPaths) -> KioskConfig | None:
    """What is installed, None where nothing is."""
    return load_config(places.config) if places.config.is_file() else None


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


def _make_state(places: InstallPaths) -> None:
    """As systemd makes it: private/NAME, and NAME a link to it."""
    places.private_state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.private_state.mkdir(mode=0o700, exist_ok=True)
    if not (places.state.is_symlink() or places.state.exists()):
        places.state.symlink_to(Path("private") / places.state.name)


def attempt(path: Path, action: Callable[[], T]) -> T:
    """What an action on a path returns. Raises SinkError."""
    try:
        return action()
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror or error}; run it as root (sudo)") from error

"""Installs the service: systemd unit, configuration, state folder, and a unit for the browser."""

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
"""Folders that the unit's sandbox hides from the service."""

T = TypeVar("T")
Command = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class InstallPaths:
    """Paths of the installed files.

    Attributes:
        root: "/", or the root of a system image.
    """

    root: Path = Path("/")

    @property
    def unit(self) -> Path:
        """The unit of the service."""
        return self.root / "etc/systemd/system" / NAME

    @property
    def browser_unit(self) -> Path:
        """The user unit of the browser that shows the page."""
        return self.root / "etc/systemd/user" / BROWSER_NAME

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "etc/edgeharfer/kiosk.toml"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.root / "var/lib/edgeharfer"

    @property
    def private_state(self) -> Path:
        """The state folder as systemd stores it for a service with DynamicUser."""
        return self.root / "var/lib/private/edgeharfer"

    def installed_path(self, path: Path) -> Path:
        """The path as seen by the installed system, without `root`."""
        return Path("/") / path.relative_to(self.root)


def plan_files(paths: InstallPaths, program: Path, browser: str = "") -> dict[Path, str]:
    """The files that `install` writes. An existing configuration is not replaced.

    Args:
        paths: Where to install.
        program: The `edgeharfer` command, absolute.
        browser: Command of the browser for the user unit; "" for no such unit.

    Returns:
        Path -> content.

    Raises:
        ConfigError: The existing configuration cannot be used.
    """
    present = paths.config.is_file()
    config = load_config(paths.config) if present else default_config()
    check_purpose(config)
    unit = unit_text(config, program, paths.installed_path(paths.config), systemd=systemd_version(paths))
    texts = {paths.unit: unit}
    if not present:
        texts[paths.config] = default_text()
    if browser:
        texts[paths.browser_unit] = browser_unit_text(config, browser)
    return texts


def install(paths: InstallPaths, program: Path, run: Command, browser: str = "") -> list[str]:
    """Write the files, create the state folder, and enable and start the service.

    The configuration may contain passwords, so only root can read it; systemd passes a copy to the service.

    Args:
        paths: Where to install.
        program: The `edgeharfer` command, absolute.
        run: Runs a command, see `run_command`.
        browser: Command of the browser for the user unit; "" for no such unit.

    Returns:
        What was done, one line each.

    Raises:
        ConfigError: The program, the systemd version or the configuration cannot be used.
        SinkError: A file cannot be written, or systemctl fails.
    """
    check_program(program)
    check_systemd(systemd_version(paths))
    done = []
    for path, content in plan_files(paths, program, browser).items():
        attempt(path, partial(_write, path, content, 0o600 if path == paths.config else 0o644))
        done.append(f"wrote {path}")
    if browser:
        done.append(f"run as the desktop user: systemctl --user enable --now {BROWSER_NAME}")
    if attempt(paths.config, partial(_hide_from_others, paths.config)):
        done.append(f"removed access of other users to {paths.config}")
    attempt(paths.private_state, lambda: _make_state(paths))
    done.append(f"created {paths.state}")
    if systemd_runs(paths):
        for arguments in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
            run(["systemctl", *arguments])
        return [*done, f"enabled and started {NAME}"]
    return [*done, f"systemd is not running here; run on the device: systemctl enable --now {NAME}"]


def systemd_runs(paths: InstallPaths) -> bool:
    """Whether systemd is running (sd_booted(3)) and these are the paths of the running system."""
    return paths.root == Path("/") and Path("/run/systemd/system").is_dir()


def systemd_version(paths: InstallPaths) -> int:
    """Version of the systemd that reads the unit; 0 if unknown."""
    if not systemd_runs(paths):
        return 0
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"systemd (\d+)", done.stdout)
    return int(match[1]) if match else 0


def check_systemd(version: int) -> None:
    """Check that systemd supports LoadCredential.

    Raises:
        ConfigError: The version is too old.
    """
    if 0 < version < MIN_SYSTEMD:
        raise ConfigError(
            f"systemd {version} is too old, the service requires {MIN_SYSTEMD} or newer; update the system, "
            "or run the kiosk in a container (docs/deploy/container.md)"
        )


def check_program(program: Path) -> None:
    """Check that the service can start this command.

    Raises:
        ConfigError: It does not exist, or the sandbox hides it.
    """
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise ConfigError(f"{program}: command not found; install edgeharfer into this environment")
    interpreter = program.with_name("python").resolve()
    pairs = [(path, folder) for path in (program, interpreter) for folder in HIDDEN_FOLDERS]
    for path, folder in (pair for pair in pairs if pair[0].is_relative_to(pair[1])):
        raise ConfigError(
            f"{path}: the service cannot access files below {folder}; install edgeharfer into a virtual "
            "environment such as /opt/edgeharfer, and run its `edgeharfer kiosk install`"
        )


def run_command(arguments: Sequence[str]) -> None:
    """Run a system command.

    Raises:
        SinkError: It fails; the message is the last line of its error output.
    """
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise SinkError(f"{' '.join(arguments)}: {reason}")


def installed_config(paths: InstallPaths) -> KioskConfig | None:
    """The installed configuration; None if there is none."""
    return load_config(paths.config) if paths.config.is_file() else None


def _write(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durable(path, content.encode(), mode)


def _hide_from_others(path: Path) -> bool:
    """Remove all permissions of other users; whether there were any."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IRWXO:
        return False
    path.chmod(mode & ~stat.S_IRWXO)
    return True


def _make_state(paths: InstallPaths) -> None:
    """Create the state folder as systemd does: private/NAME, and a link NAME to it."""
    paths.private_state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.private_state.mkdir(mode=0o700, exist_ok=True)
    if not (paths.state.is_symlink() or paths.state.exists()):
        paths.state.symlink_to(Path("private") / paths.state.name)


def attempt(path: Path, action: Callable[[], T]) -> T:
    """Run an action on a path, and return its result.

    Raises:
        SinkError: It failed with an OSError.
    """
    try:
        return action()
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror or error}; run the command as root (sudo)") from error

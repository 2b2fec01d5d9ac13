"""Install, uninstall and status of the service: three paths, each written whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeharfer.kiosk.config import KioskConfig, default_config, default_text, load_config
from edgeharfer.kiosk.durable import write_durable
from edgeharfer.kiosk.privacy import check_purpose
from edgeharfer.kiosk.unit import NAME, unit_text
from edgeharfer.runtime.errors import ConfigError, SinkError

HIDDEN = ("/home", "/root", "/tmp", "/var/tmp", "/run/user")
"""Folders that the unit's own protection hides from the service."""

Command = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where things go. root: "/", or a folder that stands for it."""

    root: Path = Path("/")

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system" / NAME

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


def plan(places: Places, program: Path) -> dict[Path, str]:
    """Path -> text of what `install` writes; a configuration that is there already stays as it is.

    Raises ConfigError for a configuration that cannot be used.
    """
    present = places.config.is_file()
    config = load_config(places.config) if present else default_config()
    check_purpose(config)
    unit = unit_text(config, program, places.of_system(places.config))
    return {places.unit: unit} if present else {places.unit: unit, places.config: default_text()}


def install(places: Places, program: Path, run: Command) -> list[str]:
    """Write the files, make the state folder, and have systemd enable and start it. Returns what was done."""
    check_program(program)
    texts = plan(places, program)
    done = []
    for path, content in texts.items():
        _attempt(path, partial(_write, path, content))
        done.append(f"wrote {path}")
    _attempt(places.private_state, lambda: _make_state(places))
    done.append(f"made {places.state}")
    if manages(places):
        for words in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
            run(["systemctl", *words])
        return [*done, f"enabled and started {NAME}"]
    return [*done, f"systemd does not run here: on the device, systemctl enable --now {NAME}"]


def uninstall(places: Places, run: Command) -> list[str]:
    """Stop the service and remove unit, configuration and state: nothing is left. Returns what was done."""
    done = []
    if manages(places) and places.unit.exists():
        run(["systemctl", "disable", "--now", NAME])
    for path in (places.unit, places.config.parent, places.state, places.private_state):
        if path.is_symlink() or path.exists():
            _attempt(path, partial(_remove, path))
            done.append(f"removed {path}")
    if manages(places) and done:
        run(["systemctl", "daemon-reload"])
    return done or ["nothing was installed"]


def manages(places: Places) -> bool:
    """Whether systemd runs here and these places are its own (sd_booted(3))."""
    return places.root == Path("/") and Path("/run/systemd/system").is_dir()


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


def configuration(places: Places) -> KioskConfig | None:
    """What is installed, None where nothing is."""
    return load_config(places.config) if places.config.is_file() else None


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durable(path, content.encode(), mode=0o644)


def _make_state(places: Places) -> None:
    """As systemd makes it: private/NAME, and NAME a link to it."""
    places.private_state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.private_state.mkdir(mode=0o700, exist_ok=True)
    if not (places.state.is_symlink() or places.state.exists()):
        places.state.symlink_to(Path("private") / places.state.name)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


def _attempt(path: Path, action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror or error}; run it as root (sudo)") from error

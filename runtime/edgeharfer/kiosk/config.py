"""The kiosk's configuration: one strict TOML file, read once at start.

Every key has a default, which `default_text` writes down with its meaning; an unknown key is an error.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from edgeharfer.runtime.config import read_config
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detectors import DETECTORS
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.manifest import PRECISIONS
from edgeharfer.runtime.inference.providers import provider_choices
from edgeharfer.runtime.source import kind_of
from edgeharfer.runtime.source.address import is_url, parse_address
from edgeharfer.runtime.strict_json import choice, fail, integer, list_of, number, read_as, record, text
from edgeharfer.runtime.tasks import ACTION, EMOTION, EXTRA_TASKS, TASKS

PURPOSES = ("public", "retail", "research", "medical", "workplace", "education")
REFUSED_PURPOSES = ("workplace", "education")
VIEWS = ("page", "none", "window")
"""The last one is of older files and means the page."""
TEMPLATE = Path(__file__).with_name("kiosk.toml")

Zone = tuple[float, float, float, float]
"""Left, top, width and height as shares of the picture, 0 to 1."""


def _zone(value: object, where: str) -> Zone:
    left, top, width, height = list_of(number(0, 1), 4, 4)(value, where)
    return left, top, width, height


def _task(value: object, where: str) -> str:
    if isinstance(value, str) and "\0" not in value and Path(value).is_absolute():
        return value
    if value not in EXTRA_TASKS:
        fail(where, f"must be one of {', '.join(EXTRA_TASKS)}, or the absolute path of a package")
    return str(value)


Words = Annotated[str, text(r"(?s)[^\x00]{0,1000}", "at most 1000 characters")]
PathText = Annotated[str, text(r"|/[^\x00\n]{1,1000}", "empty or an absolute path")]
Topic = Annotated[str, text(r"[^+#/\x00\s]{1,60}(/[^+#/\x00\s]{1,60}){0,4}", "a topic without wildcards")]
PackageName = Annotated[str, text(r"[^\x00\n]{1,1000}", "the name or folder of a package, or off")]
_name = text(r"[a-z0-9][a-z0-9_-]{0,40}", "a short name of a-z, 0-9, - and _")
_host = text(r"[A-Za-z0-9.:_-]{0,253}", "a host name or address")
_networks = list_of(text(r"[0-9a-fA-F.:/]{2,50}", "a network"), 0, 32)


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """Where it stands and what for. name: part of every topic."""

    name: Annotated[str, _name] = "kiosk"
    purpose: Annotated[str, choice(*PURPOSES)] = "public"


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Where the pictures come from, in the words of `edgeharfer run`.

    follow_redirects: a stream may connect to other servers that it names.
    """

    camera: Words = "0"
    source: Words = ""
    follow_redirects: bool = False

    @property
    def spec(self) -> str:
        return self.source or self.camera


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Packages and how they run; "off" leaves one out. tasks: further ones, by name or folder."""

    action: PackageName = TASKS[ACTION].package
    emotion: PackageName = TASKS[EMOTION].package
    # Not "auto", which blurs fewer of the faces in doubt.
    detector: Annotated[str, choice(*DETECTORS)] = "blazeface"
    provider: Annotated[str, choice(*provider_choices())] = AUTO
    precision: Annotated[str, choice(AUTO, *PRECISIONS)] = AUTO
    threads: Annotated[int, integer(1, 256)] = 1
    face_rate: Annotated[float, number(0, 1000)] = 10.0
    require_signature: PathText = ""
    tasks: Annotated[tuple[str, ...], list_of(_task, 0, 16)] = ()

    @property
    def backend(self) -> Backend:
        """What they run on."""
        return Backend.parse(self.provider, precision=self.precision, threads=self.threads)

    @property
    def reads_faces(self) -> bool:
        """Whether anything is estimated of faces."""
        return self.emotion != "off" or bool(self.tasks)

    @property
    def signature_key(self) -> Path | None:
        """The file of the key that packages must be signed with, None where they need not be."""
        return Path(self.require_signature) if self.require_signature else None


@dataclass(frozen=True, slots=True)
class ScreenConfig:
    """The page. turn: degrees clockwise, for a screen that is mounted sideways."""

    view: Annotated[str, choice(*VIEWS)] = "page"
    title: Words = "Welcome"
    message: Words = "Come closer: this display answers to what you do."
    show_camera: bool = True
    turn: Annotated[int, integer(0, 270)] = 0


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """The loopback port of /healthz, /readyz, /metrics and the page."""

    port: Annotated[int, integer(0, 65535)] = 9464


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """When a label becomes a decision."""

    min_duration_s: Annotated[float, number(0, 60)] = 0.6
    cooldown_s: Annotated[float, number(0, 3600)] = 2.0
    min_score: Annotated[float, number(0, 1)] = 0.5


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker; without a host nothing is sent."""

    host: Annotated[str, _host] = ""
    port: Annotated[int, integer(1, 65535)] = 1883
    username: Words = ""
    password_file: PathText = ""
    tls: bool = False
    ca_file: PathText = ""
    prefix: Topic = "edgeharfer"
    discovery: bool = True
    discovery_prefix: Topic = "homeassistant"


@dataclass(frozen=True, slots=True)
class PrivacyConfig:
    """What is kept, shown and asked."""

    record: bool = False
    retention_days: Annotated[float, number(0.01, 365)] = 7.0
    blur_faces: bool = True
    notice_required: bool = True
    notice: Words = (
        "A camera here estimates what people do and how their faces look. No picture is stored or sent. "
        "Touch to agree; walk on and nothing is estimated of your face."
    )
    notice_forget_s: Annotated[float, number(1, 86400)] = 60.0
    ignore_zones: Annotated[tuple[Zone, ...], list_of(_zone, 0, 32)] = ()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Addresses that the service may talk to beside this machine's own, such as "192.168.1.20/32"."""

    allow: Annotated[tuple[str, ...], _networks] = ()


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What systemd holds the service to."""

    memory_mb: Annotated[int, integer(256, 1 << 20)] = 1024
    watchdog_s: Annotated[int, integer(2, 600)] = 10


@dataclass(frozen=True, slots=True)
class KioskConfig:
    """All sections."""

    site: SiteConfig = field(default_factory=SiteConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    screen: ScreenConfig = field(default_factory=ScreenConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    decisions: DecisionConfig = field(default_factory=DecisionConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)


def default_text() -> str:
    """The file that `kiosk install` writes: all keys with their defaults and meanings."""
    return TEMPLATE.read_text(encoding="utf-8")


def default_config() -> KioskConfig:
    """The configuration of the file as shipped."""
    return _parse(tomllib.loads(default_text()), "the shipped kiosk.toml")


def handed_over(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The file, or where only root may read it, the copy that systemd made (LoadCredential)."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    copy = Path(folder, path.name) if folder else path
    return copy if copy.is_file() and not os.access(path, os.R_OK) else path


def load_config(path: Path) -> KioskConfig:
    """Read and check a file. Raises ConfigError naming the file and the key."""
    return _parse(read_config(path, [one.name for one in fields(KioskConfig)]), str(path))


def _parse(settings: Mapping[str, object], where: str) -> KioskConfig:
    config = read_as(ConfigError, record(KioskConfig), settings, where)
    _check(config, where)
    return config


def _check(config: KioskConfig, where: str) -> None:
    """Check what no single key shows."""
    if config.screen.turn % 90:
        raise ConfigError(f"{where}: screen.turn must be 0, 90, 180 or 270")
    if config.privacy.record:
        raise ConfigError(
            f"{where}: privacy.record: the kiosk keeps no pictures; use `edgeharfer run --save`"
        )
    if config.mqtt.ca_file and not config.mqtt.tls:
        raise ConfigError(f"{where}: mqtt.ca_file needs mqtt.tls = true")
    if config.mqtt.username and not config.mqtt.tls and not is_loopback(config.mqtt.host):
        raise ConfigError(f"{where}: mqtt.username over the network needs mqtt.tls = true, or it is readable")
    for network in config.network.allow:
        try:
            ip_network(network)
        except ValueError as error:
            raise ConfigError(f"{where}: network.allow: {error}") from error
    try:
        kind_of(config.source.spec)
        hosts = remote_hosts(config)
    except SourceError as error:
        raise ConfigError(f"{where}: source: {error}") from error
    if not config.network.allow and (named := [host for host in hosts if not is_address(host)]):
        raise ConfigError(
            f"{where}: {named[0]} is a name, and the firewall of the service knows addresses only: "
            "give its address, or list its network and the DNS server under network.allow"
        )


def remote_hosts(config: KioskConfig) -> list[str]:
    """Hosts beside this machine that the configuration names: the broker, a network camera."""
    hosts = [config.mqtt.host]
    if is_url(config.source.spec):
        hosts.append(parse_address(config.source.spec).host)
    return [host for host in hosts if host and not is_loopback(host)]


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    return host in ("", "localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def is_address(host: str) -> bool:
    """Whether the host is given by its address rather than its name."""
    try:
        ip_network(host)
    except ValueError:
        return False
    return True

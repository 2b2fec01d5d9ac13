"""The kiosk's configuration: one strict TOML file, read once at start.

Every key has a default, documented in the file of `default_text`; an unknown key is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from edgeharfer.runtime.config import read_config, read_toml
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detectors import DETECTORS
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.manifest import PRECISIONS
from edgeharfer.runtime.inference.providers import provider_choices
from edgeharfer.runtime.inputs import RESERVED_NAMES
from edgeharfer.runtime.source import source_kind
from edgeharfer.runtime.source.address import is_url, parse_address
from edgeharfer.runtime.source.decode_devices import decode_choices
from edgeharfer.runtime.strict_json import (
    any_object,
    choice,
    fail,
    integer,
    list_of,
    number,
    read_as,
    record,
    text,
)
from edgeharfer.runtime.tasks import ACTION, EMOTION, EXTRA_TASKS, TASKS

PURPOSES = ("public", "retail", "research", "medical", "workplace", "education")
REFUSED_PURPOSES = ("workplace", "education")
VIEWS = ("page", "none", "window")
"""Values of screen.view. "window" is accepted from older files and means "page"."""
TEMPLATE = Path(__file__).with_name("kiosk.toml")

Zone = tuple[float, float, float, float]
"""Left, top, width and height as fractions of the picture, 0 to 1."""


def _zone(value: object, where: str) -> Zone:
    left, top, width, height = list_of(number(0, 1), 4, 4)(value, where)
    return left, top, width, height


def _task(value: object, where: str) -> str:
    if isinstance(value, str) and "\0" not in value and Path(value).is_absolute():
        return value
    if value not in EXTRA_TASKS:
        fail(where, f"must be one of {', '.join(EXTRA_TASKS)}, or the absolute path of a package")
    return str(value)


def _labels(value: object, where: str) -> Mapping[str, str]:
    read = text(r"[^\x00\n]{0,100}", "at most 100 characters")
    return {label: read(one, f"{where}.{label}") for label, one in any_object(value, where).items()}


ShortText = Annotated[str, text(r"(?s)[^\x00]{0,1000}", "at most 1000 characters")]
PathText = Annotated[str, text(r"|/[^\x00\n]{1,1000}", "empty or an absolute path")]
Topic = Annotated[str, text(r"[^+#/\x00\s]{1,60}(/[^+#/\x00\s]{1,60}){0,4}", "a topic without wildcards")]
PackageName = Annotated[str, text(r"[^\x00\n]{1,1000}", "the name or folder of a package, or off")]
_language = text(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", "a language such as en or de-AT")
_name = text(r"[a-z0-9][a-z0-9_-]{0,40}", "a short name of a-z, 0-9, - and _")
_host = text(r"[A-Za-z0-9.:_-]{0,253}", "a host name or address")
_networks = list_of(text(r"[0-9a-fA-F.:/]{2,50}", "a network"), 0, 32)


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """The site.

    Attributes:
        name: Part of every MQTT topic.
        purpose: Use of the site; emotions are refused for "workplace" and "education".
    """

    name: Annotated[str, _name] = "kiosk"
    purpose: Annotated[str, choice(*PURPOSES)] = "public"


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """The source, as in `edgeharfer run --source`.

    Attributes:
        camera: Camera number or device path.
        source: Any other source; takes precedence over `camera`.
        follow_redirects: Let a stream connect to other servers that it redirects or points to.
        decode: Device that decodes videos and streams.
        name: Name in events, metrics and health; needed if there are several sources.
        ignore_zones: Areas of this source that are ignored, in addition to privacy.ignore_zones.
    """

    camera: ShortText = "0"
    source: ShortText = ""
    follow_redirects: bool = False
    decode: Annotated[str, choice(*decode_choices())] = AUTO
    name: Annotated[str, text(r"|[a-z0-9][a-z0-9_-]{0,40}", "a short name of a-z, 0-9, - and _")] = ""
    ignore_zones: Annotated[tuple[Zone, ...], list_of(_zone, 0, 32)] = ()

    @property
    def spec(self) -> str:
        """The configured source, as `open_source` takes it."""
        return self.source or self.camera


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """The models and their backend.

    Attributes:
        action: Package name or folder; "off" to disable.
        emotion: The same.
        detector: Face detector.
        provider: Execution provider.
        precision: Precision of the weights.
        threads: ONNX Runtime intra-op threads.
        face_rate: Face-detection rate in Hz (halved while faces are still); 0 is every frame.
        require_signature: Public key file that packages must be signed with; "" for none.
        tasks: Additional tasks, by name or package folder.
    """

    action: PackageName = TASKS[ACTION].package
    emotion: PackageName = TASKS[EMOTION].package
    # Not "auto", which finds, and so blurs, fewer of the uncertain faces.
    detector: Annotated[str, choice(*DETECTORS)] = "blazeface"
    provider: Annotated[str, choice(*provider_choices())] = AUTO
    precision: Annotated[str, choice(AUTO, *PRECISIONS)] = AUTO
    threads: Annotated[int, integer(1, 256)] = 1
    face_rate: Annotated[float, number(0, 1000)] = 10.0
    require_signature: PathText = ""
    tasks: Annotated[tuple[str, ...], list_of(_task, 0, 16)] = ()

    @property
    def backend(self) -> Backend:
        """The backend of all models."""
        return Backend.parse(self.provider, precision=self.precision, threads=self.threads)

    @property
    def reads_faces(self) -> bool:
        """Whether any task reads faces."""
        return self.emotion != "off" or bool(self.tasks)

    @property
    def signature_key(self) -> Path | None:
        """The public key file that packages must be signed with; None if signatures are not required."""
        return Path(self.require_signature) if self.require_signature else None


@dataclass(frozen=True, slots=True)
class ScreenConfig:
    """The page on the screen.

    Attributes:
        view: "page" or "none".
        title: Heading.
        message: Text below it.
        show_camera: Show a small camera picture.
        turn: Rotation in degrees clockwise, for a screen mounted sideways.
    """

    view: Annotated[str, choice(*VIEWS)] = "page"
    title: ShortText = "Welcome"
    message: ShortText = "Come closer: this display responds to what you do."
    show_camera: bool = True
    turn: Annotated[int, integer(0, 270)] = 0


@dataclass(frozen=True, slots=True)
class TextConfig:
    """All other words on the screen.

    Attributes:
        language: Language of the texts, as in HTML (BCP 47).
        hello: Headline while somebody is in view.
        agree: Button of the notice.
        decline: The other button, of the same size.
        declined: Text after a visitor declined.
        camera: Name of the camera picture, for screen readers.
        emotions: Name of the list of emotions, for screen readers.
        blurred: Below the camera picture, if faces are blurred.
        not_stored: Below the camera picture.
        live: Bottom line while the camera works.
        connecting: Bottom line while it does not.
        waiting: Bottom line while the service does not answer.
        labels: Text of a label of a model; other labels are shown as words.
    """

    language: Annotated[str, _language] = "en"
    hello: ShortText = "Hello!"
    agree: ShortText = "I agree"
    decline: ShortText = "No, thank you"
    declined: ShortText = "All right. Nothing is analysed until you have left."
    camera: ShortText = "Camera picture"
    emotions: ShortText = "Emotions of the people in view"
    blurred: ShortText = "Faces are blurred."
    not_stored: ShortText = "No picture is stored."
    live: ShortText = "Runs on this device. No picture leaves it."
    connecting: ShortText = "One moment, connecting to the camera …"
    waiting: ShortText = "One moment …"
    labels: Annotated[Mapping[str, str], _labels] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """The HTTP server on 127.0.0.1.

    Attributes:
        port: Port of /healthz, /readyz, /metrics and the page.
    """

    port: Annotated[int, integer(0, 65535)] = 9464


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """When a label becomes a decision.

    Attributes:
        min_duration_s: How long the label must last.
        cooldown_s: Shortest time between the end of a decision and the same decision of the same subject.
        min_score: Smallest score, 0 to 1.
    """

    min_duration_s: Annotated[float, number(0, 60)] = 0.6
    cooldown_s: Annotated[float, number(0, 3600)] = 2.0
    min_score: Annotated[float, number(0, 1)] = 0.5


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The MQTT broker.

    Attributes:
        host: Host name or address; "" sends nothing.
        port: Port.
        username: User name; "" for none.
        password_file: File with the password in its first line.
        tls: Use TLS.
        ca_file: CA certificates; "" for those of the system.
        prefix: First part of every topic.
        discovery: Announce the sensors to Home Assistant.
        discovery_prefix: Topic prefix of Home Assistant's discovery.
    """

    host: Annotated[str, _host] = ""
    port: Annotated[int, integer(1, 65535)] = 1883
    username: ShortText = ""
    password_file: PathText = ""
    tls: bool = False
    ca_file: PathText = ""
    prefix: Topic = "edgeharfer"
    discovery: bool = True
    discovery_prefix: Topic = "homeassistant"


@dataclass(frozen=True, slots=True)
class PrivacyConfig:
    """Privacy settings.

    Attributes:
        record: Must be False; the kiosk stores no pictures.
        retention_days: Age at which undelivered events are deleted.
        blur_faces: Blur faces in every view.
        notice_required: Estimate nothing of faces until the notice is confirmed.
        notice: Text of the notice.
        notice_forget_s: The notice is shown again after this long with nobody in view.
        decline_forget_s: After a visitor declined, nothing is analysed until nobody was in view for this
            long.
        ignore_zones: Parts of the picture that are blackened before any model.
    """

    record: bool = False
    retention_days: Annotated[float, number(0.01, 365)] = 7.0
    blur_faces: bool = True
    notice_required: bool = True
    notice: ShortText = (
        "A camera here estimates what people do and how their faces look. No picture is stored or sent. "
        "If you decline, nothing is analysed."
    )
    notice_forget_s: Annotated[float, number(1, 86400)] = 60.0
    decline_forget_s: Annotated[float, number(1, 3600)] = 10.0
    ignore_zones: Annotated[tuple[Zone, ...], list_of(_zone, 0, 32)] = ()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The firewall of the service.

    Attributes:
        allow: Networks that the service may connect to besides this machine, such as "192.168.1.20/32".
    """

    allow: Annotated[tuple[str, ...], _networks] = ()


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Limits enforced by systemd.

    Attributes:
        memory_mb: Memory limit (MemoryMax).
        watchdog_s: Watchdog interval (WatchdogSec).
    """

    memory_mb: Annotated[int, integer(256, 1 << 20)] = 1024
    watchdog_s: Annotated[int, integer(2, 600)] = 10


@dataclass(frozen=True, slots=True)
class KioskConfig:
    """All sections of the configuration.

    Attributes:
        source: The source, or the first one.
        further_sources: The others; a file has all of them as [[source]] tables.
    """

    site: SiteConfig = field(default_factory=SiteConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    screen: ScreenConfig = field(default_factory=ScreenConfig)
    text: TextConfig = field(default_factory=TextConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    decisions: DecisionConfig = field(default_factory=DecisionConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    further_sources: tuple[SourceConfig, ...] = ()

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """All sources."""
        return self.source, *self.further_sources


def default_text() -> str:
    """The default configuration file: all keys with defaults and comments."""
    return TEMPLATE.read_text(encoding="utf-8")


def default_config() -> KioskConfig:
    """The default configuration."""
    return _parse(read_toml(TEMPLATE), "the shipped kiosk.toml")


def credential_or_file(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The file, or systemd's copy of it (LoadCredential) if only root can read the file."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    copy = Path(folder, path.name) if folder else path
    return copy if copy.is_file() and not os.access(path, os.R_OK) else path


def load_config(path: Path) -> KioskConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: The file cannot be read, or a key is unknown or has an invalid value.
    """
    known = [one.name for one in fields(KioskConfig) if one.name != "further_sources"]
    return _parse(read_config(path, known), str(path))


def _parse(settings: Mapping[str, object], where: str) -> KioskConfig:
    if isinstance(tables := settings.get("source"), list) and tables:
        settings = {**settings, "source": tables[0], "further_sources": tables[1:]}
    config = read_as(ConfigError, record(KioskConfig), settings, where)
    _check(config, where)
    _check_names(config, where)
    return config


def _check(config: KioskConfig, where: str) -> None:
    """Check the combinations of keys.

    Raises:
        ConfigError: Two keys contradict each other.
    """
    if config.screen.turn % 90:
        raise ConfigError(f"{where}: screen.turn must be 0, 90, 180 or 270")
    if config.privacy.record:
        raise ConfigError(
            f"{where}: privacy.record: the kiosk stores no pictures; use `edgeharfer run --save`"
        )
    if config.mqtt.ca_file and not config.mqtt.tls:
        raise ConfigError(f"{where}: mqtt.ca_file requires mqtt.tls = true")
    if config.mqtt.username and not config.mqtt.tls and not is_loopback(config.mqtt.host):
        raise ConfigError(
            f"{where}: mqtt.username requires mqtt.tls = true, or the password is sent unencrypted"
        )
    for network in config.network.allow:
        try:
            ip_network(network)
        except ValueError as error:
            raise ConfigError(f"{where}: network.allow: {error}") from error
    try:
        for one in config.sources:
            source_kind(one.spec)
        hosts = remote_hosts(config)
    except SourceError as error:
        raise ConfigError(f"{where}: source: {error}") from error
    if not config.network.allow and (named := [host for host in hosts if not is_address(host)]):
        raise ConfigError(
            f"{where}: {named[0]} is a host name, but the service's firewall allows only addresses; "
            "use the IP address, or add its network and the DNS server to network.allow"
        )


def _check_names(config: KioskConfig, where: str) -> None:
    """Check the names of several sources.

    Raises:
        ConfigError: One has no name, or that of another.
    """
    names = [one.name for one in config.sources]
    if len(names) > 1 and ("" in names or len(set(names)) < len(names) or RESERVED_NAMES & set(names)):
        raise ConfigError(f'{where}: source: each of several sources needs a unique name, e.g. name = "door"')


def remote_hosts(config: KioskConfig) -> list[str]:
    """Configured hosts other than this machine: the broker and the network cameras."""
    hosts = [config.mqtt.host]
    hosts += [parse_address(one.spec).host for one in config.sources if is_url(one.spec)]
    return [host for host in hosts if host and not is_loopback(host)]


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    return host in ("", "localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def is_address(host: str) -> bool:
    """Whether the host is an IP address or network rather than a name."""
    try:
        ip_network(host)
    except ValueError:
        return False
    return True

"""Which names a server answers to and which pages may ask it, and the address that limits count."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.messages import Request

LOOPBACK = "127.0.0.1"
IPV6_NETWORK_BITS = 64
"""The network that one IPv6 customer usually has: all its addresses count as one client."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::(?P<port>\d{1,5}))?")
_LOCAL_NAMES = frozenset({"localhost", LOOPBACK, "::1"})


@dataclass(frozen=True)
class OriginPolicy:
    """Refuses requests for other names (DNS rebinding) and from pages of other sites.

    names: in lower case, beside those of this machine. any_address: an IP address as Host is accepted, too,
    for a server that other machines reach. schemes: of the server's own pages; a proxy may use https for it.
    linked: paths that a link on another site may open. host_status, host_advice: for a foreign Host.
    """

    names: Set[str] = frozenset()
    any_address: bool = False
    schemes: Set[str] = frozenset({"http"})
    linked: Set[str] = frozenset()
    host_status: int = 403
    host_advice: str = "use localhost"

    def check(self, request: Request) -> None:
        """Raises HttpError for a request that is not answered."""
        hosts, origins = request.values("host"), request.values("origin")
        if len(hosts) != 1 or not self.accepts_host(hosts[0]):
            raise HttpError(self.host_status, f"the server has no such name; {self.host_advice}")
        same = len(origins) <= 1 and all(self.accepts_origin(origin, hosts[0]) for origin in origins)
        if not same or not self._is_own_page(request):
            raise HttpError(403, "the request comes from a page of another site")

    def accepts_host(self, host: str) -> bool:
        """Whether a Host header names this server; the port may be that of a tunnel or proxy."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").lower()
        return name in _LOCAL_NAMES or name in self.names or (self.any_address and _is_address(name))

    def accepts_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is the server's own."""
        try:
            parts = urlsplit(origin)
        except ValueError:  # such as http://[
            return False
        return parts.scheme in self.schemes and parts.netloc.lower() == host.lower() and not parts.path

    def _is_own_page(self, request: Request) -> bool:
        """Browsers say which page asks. A link may open some paths, and do nothing more."""
        if request.header("sec-fetch-site", "none") in ("none", "same-origin"):
            return True
        navigates = request.method == "GET" and request.header("sec-fetch-mode") == "navigate"
        return navigates and request.path in self.linked


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def client_address(host: str | None) -> str:
    """The client that limits count: an IPv4 address, or the network of an IPv6 address.

    Args:
        host: The address of the other end of a connection; None where there is none.
    """
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

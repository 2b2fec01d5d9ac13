"""Checks of the Host and Origin header fields, and client addresses for limits."""

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
"""Prefix length of a typical IPv6 site: all its addresses count as one client."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::(?P<port>\d{1,5}))?")
_LOCAL_NAMES = frozenset({"localhost", LOOPBACK, "::1"})


@dataclass(frozen=True)
class OriginPolicy:
    """Rejects requests for other host names (DNS rebinding) and from pages of other sites.

    Attributes:
        names: Accepted host names in lower case, in addition to those of the loopback interface.
        any_address: Whether any IP address is accepted as Host, for a server reachable from other machines.
        schemes: Accepted URL schemes of the server's own pages; "https" behind a proxy.
        linkable: Paths that links on other sites may open.
        host_status: Status code for an unknown Host.
        host_hint: Advice in the error message for an unknown Host.
    """

    names: Set[str] = frozenset()
    any_address: bool = False
    schemes: Set[str] = frozenset({"http"})
    linkable: Set[str] = frozenset()
    host_status: int = 403
    host_hint: str = "use localhost"

    def check(self, request: Request) -> None:
        """Check a request.

        Raises:
            HttpError: The Host is unknown, or the request comes from a page of another site.
        """
        hosts, origins = request.values("host"), request.values("origin")
        if len(hosts) != 1 or not self.accepts_host(hosts[0]):
            raise HttpError(self.host_status, f"unknown host name; {self.host_hint}")
        same = len(origins) <= 1 and all(self.accepts_origin(origin, hosts[0]) for origin in origins)
        if not same or not self._is_own_page(request):
            raise HttpError(403, "cross-site requests are not allowed")

    def accepts_host(self, host: str) -> bool:
        """Return whether a Host value names this server; the port may be that of a tunnel or proxy."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").lower()
        return name in _LOCAL_NAMES or name in self.names or (self.any_address and _is_address(name))

    def accepts_origin(self, origin: str, host: str) -> bool:
        """Return whether an Origin value is that of the server's own pages."""
        try:
            parts = urlsplit(origin)
        except ValueError:  # such as http://[
            return False
        return parts.scheme in self.schemes and parts.netloc.lower() == host.lower() and not parts.path

    def _is_own_page(self, request: Request) -> bool:
        """Check the Fetch Metadata fields. Links on other sites may only open the `linkable` paths."""
        if request.header("sec-fetch-site", "none") in ("none", "same-origin"):
            return True
        navigates = request.method == "GET" and request.header("sec-fetch-mode") == "navigate"
        return navigates and request.path in self.linkable


def is_loopback(host: str) -> bool:
    """Return whether a host name or address to listen on is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def client_address(host: str | None) -> str:
    """Return the client for limits: an IPv4 address, or the /64 network of an IPv6 address.

    Args:
        host: Address of the peer, None if unknown.
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

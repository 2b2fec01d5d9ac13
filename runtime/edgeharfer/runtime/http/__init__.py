"""A small bounded HTTP/1.1 server: the web view of `run`, the kiosk's port and the web app use it.

listener ──> server ──> connection ──> handler (a Router, or what wraps one)
             limits     head, body,    Request in, Response out, HttpError for a refusal
                        deadlines
"""

from __future__ import annotations

from edgeharfer.runtime.http.body import Pace, received
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import Request, Response, json_response
from edgeharfer.runtime.http.origins import LOOPBACK, OriginPolicy
from edgeharfer.runtime.http.router import Route, Router, download, static_route, static_routes
from edgeharfer.runtime.http.server import HttpServer, ServerThread, content_policy, listen, url_of

__all__ = [
    "LOOPBACK",
    "HttpError",
    "HttpLimits",
    "HttpServer",
    "OriginPolicy",
    "Pace",
    "Request",
    "Response",
    "Route",
    "Router",
    "ServerThread",
    "content_policy",
    "download",
    "json_response",
    "listen",
    "received",
    "static_route",
    "static_routes",
    "url_of",
]

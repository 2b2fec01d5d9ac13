"""Queries the running service over its loopback port."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 2.0


def fetch(port: int, path: str) -> tuple[int, str]:
    """HTTP status and body of a response; (0, reason) if there is none."""
    link = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        return 0, f"no response from http://{LOOPBACK}:{port}{path} ({type(error).__name__})"
    finally:
        link.close()

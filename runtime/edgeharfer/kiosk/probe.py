"""Ask the running service how it is, over its loopback port."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 2.0


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and text of an answer; (0, why) where nothing answers."""
    link = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        return 0, f"nothing answers at http://{LOOPBACK}:{port}{path} ({type(error).__name__})"
    finally:
        link.close()

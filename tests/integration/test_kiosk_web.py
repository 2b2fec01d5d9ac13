"""The loopback port: health, metrics, the page and the one thing that may be posted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.probe import fetch
from edgeharfer.kiosk.state import KioskState, ScreenContent
from edgeharfer.kiosk.web import WebPort
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Frame


class Site:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state, self.metrics = KioskState(KioskConfig(), self.clock), Metrics()
        self.web = WebPort(0, self.state, self.metrics.text)

    def get(self, path: str) -> tuple[int, str]:
        return fetch(self.web.port, path)

    def ask(self, method: str, path: str, **headers: str) -> int:
        link = HTTPConnection("127.0.0.1", self.web.port, timeout=10)
        try:
            link.request(method, path, headers=headers)
            answer = link.getresponse()
            answer.read()
            return answer.status
        finally:
            link.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    with made.web:
        yield made


def test_ready_and_healthy_are_two_things(site: Site) -> None:
    assert (site.get("/healthz")[0], site.get("/readyz")[0]) == (200, 503)
    site.state.set_health("source lost", {"source": "lost"})
    code, text = site.get("/readyz")
    assert code == 503
    assert json.loads(text)["lack"] == "source lost" and json.loads(text)["source"] == "lost"
    site.state.set_health("", {})
    assert site.get("/readyz")[0] == 200
    site.clock.sleep(60)
    assert (site.get("/healthz")[0], site.get("/readyz")[0]) == (503, 503)


def test_prometheus_can_read_the_metrics(site: Site) -> None:
    site.metrics.count(Result(0, 0.0, 12.0, stages_ms={"total": 8.0}))
    site.metrics.show_state("live")
    code, text = site.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert code == 200
    samples = {sample.labels["state"]: sample.value for sample in families["edgeharfer_source_state"].samples}
    assert samples["live"] == 1 and sum(samples.values()) == 1
    assert families["edgeharfer_frame_age_seconds"].type == "histogram"


def test_the_page_and_its_parts_are_served(site: Site) -> None:
    for path in ("/", "/kiosk.css", "/kiosk.js"):
        code, text = site.get(path)
        assert code == 200 and len(text) > 500
    assert site.get("/frame.jpg")[0] == 503
    site.state.show(
        ScreenContent("live", people=1),
        (Frame(0, 0.0, 0.0, np.zeros((48, 64, 3), np.uint8)), Result(0, 0.0, 1.0)),
    )
    assert site.get("/frame.jpg")[0] == 200
    assert json.loads(site.get("/state.json")[1])["people"] == 1


def test_the_notice_is_answered_by_a_post_of_the_page(site: Site) -> None:
    own = f"http://127.0.0.1:{site.web.port}"
    assert site.ask("POST", "/notice", Origin=own) == 204
    assert site.state.pop_answer() is True and site.state.pop_answer() is None
    assert site.ask("POST", "/decline", Origin=own) == 204
    assert site.state.pop_answer() is False and site.state.pop_answer() is None


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/notice", {"Origin": "http://evil.example"}, 403),
        ("POST", "/notice", {"Host": "evil.example"}, 403),
        ("POST", "/decline", {"Origin": "http://evil.example"}, 403),
        ("POST", "/decline", {"Content-Length": "9"}, 405),
        ("POST", "/notice", {"Content-Length": "9"}, 405),
        ("POST", "/metrics", {}, 405),
        ("PUT", "/notice", {}, 405),
        ("GET", "/notice", {}, 404),
        ("GET", "/../kiosk.toml", {}, 404),
        ("GET", "/%2e%2e/web.py", {}, 404),
    ],
)
def test_everything_else_is_refused(
    site: Site, method: str, path: str, headers: dict[str, str], code: int
) -> None:
    assert site.ask(method, path, **headers) == code
    assert site.state.pop_answer() is None


def test_a_port_that_is_taken_is_told(site: Site) -> None:
    with pytest.raises(SinkError, match=r"choose another health\.port"):
        WebPort(site.web.port, site.state, site.metrics.text)

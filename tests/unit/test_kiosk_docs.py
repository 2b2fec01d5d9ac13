"""What the documentation names is there: metrics in the dashboard, keys and topics in the text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
from edgeharfer.kiosk.config import default_text
from edgeharfer.kiosk.metrics import Metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"
SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_info", "")


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    expressions = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    asked = set(re.findall(r"edgeharfer_[a-z_]+|edgeharfer(?=_info)", expressions))
    known = {family.name + suffix for family in Metrics().registry.collect() for suffix in SUFFIXES}
    assert asked - known == set()
    assert len(asked) >= 15


def test_the_fleet_row_of_the_dashboard_tells_kiosks_apart() -> None:
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    rows = [place for place, panel in enumerate(panels) if panel["type"] == "row"]
    fleet = panels[rows[0] + 1 : rows[1]]
    assert len(fleet) >= 10
    for panel in fleet:
        for target in panel["targets"]:
            assert "$instance" not in target["expr"], "the row shows all kiosks, whichever are selected"
            counted = re.match(r"(count|sum)\b", target["expr"])
            assert counted or "{{instance}}" in target["legendFormat"], panel["title"]
    taken = {
        (x, y)
        for box in (panel["gridPos"] for panel in panels)
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    }
    assert len(taken) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels), "no overlap"
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_metric_is_described() -> None:
    text = (DOCS / "kiosk.md").read_text(encoding="utf-8")
    names = {family.name for family in Metrics().registry.collect() if family.type != "info"}
    assert {name for name in names if name not in text} == set()


def test_every_section_of_the_configuration_is_described() -> None:
    text = (DOCS / "kiosk.md").read_text(encoding="utf-8")
    sections = re.findall(r"^\[(\w+)\]", default_text(), re.MULTILINE)
    assert [section for section in sections if f"`[{section}]`" not in text] == []

"""What docs/app.md and docs/deploy/app.md say is so: options, addresses, figures, pictures."""

from __future__ import annotations

import re
from pathlib import Path

from edgeharfer.app import access, likely, messages
from edgeharfer.app.settings import UserLimits
from edgeharfer.cli.app import app
from edgeharfer.kiosk.web import LIMITS as KIOSK
from edgeharfer.runtime.http.body import SLOW_FRACTION
from edgeharfer.runtime.sinks.web import LIMITS as VIEW

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "app.md").read_text(encoding="utf-8")
DEPLOY = (DOCS / "deploy" / "app.md").read_text(encoding="utf-8")


def test_every_option_is_there_and_has_the_default_that_is_told() -> None:
    known = {option.opts[0]: option for option in app.params}
    table = re.findall(r"`(--[a-z-]+)(?: ([^`]*))?`", PAGE.partition("Models, detector")[0])
    assert len(table) >= 14
    for name, told in table:
        assert name in known
        if re.fullmatch(r"[\d.]+", told):
            assert str(known[name].default).removesuffix(".0") == told


def test_the_commands_of_the_deployment_parse() -> None:
    known = {option.opts[0] for option in app.params}
    line = re.search(r"^edgeharfer app (.*)$", DEPLOY, re.MULTILINE)
    command = re.search(r'^CMD \["edgeharfer", "app", (.*)\]$', DEPLOY, re.MULTILINE)
    assert line is not None and command is not None
    assert set(re.findall(r"--[a-z-]+", line[1] + command[1])) <= known


def test_the_figures_are_those_of_the_code() -> None:
    limits = UserLimits()
    assert (
        f"{limits.megapixels:g} megapixels" in PAGE
        and f"only from {likely.MIN_PROBABILITY:.0%}".replace("%", " %") in PAGE
    )
    assert f"stand for {messages.HOLD_S:g} s" in PAGE and f"*t* = {likely.TRUST}" in PAGE
    assert f"arrive within {limits.image_s:g} s" in PAGE.replace("\n  ", " ")
    assert limits.stall_s == 15 and limits.head_s == limits.body_s == 10
    assert f"within {limits.upload_s / 60:.0f} minutes" in PAGE
    assert f"at least {limits.min_rate / 1000:.0f} kB a second" in PAGE
    assert f"too slow for {SLOW_FRACTION * limits.stall_s:.0f} s" in PAGE
    assert f"{limits.connections}, of them {limits.connections_per_address} from one address" in PAGE
    assert (
        f"{access.MAX_WRONG_TOKENS} a minute from one address" in PAGE and access.WRONG_TOKEN_WINDOW_S == 60
    )
    assert (
        VIEW == KIOSK
        and f"take {VIEW.connections} connections" in PAGE
        and f"after {VIEW.stall_s:.0f} s" in PAGE
    )


def test_its_pictures_are_there() -> None:
    named = re.findall(r"\]\((app-[a-z-]+\.png)\)", PAGE)
    assert len(named) == 5 and all((DOCS / name).is_file() for name in named)

"""Dataclasses read by their fields' types: what fits, and what each misfit is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest

from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.strict_json import choice, integer, read_as, record


@dataclass(frozen=True)
class Broker:
    host: str
    port: Annotated[int, integer(1, 65535)] = 1883


@dataclass(frozen=True)
class Service:
    name: Annotated[str, choice("shop", "hall")]
    broker: Broker
    rate: float = 1.0
    limit: int | None = None
    loud: bool = False
    notes: tuple[str, ...] = ()
    others: tuple[Broker, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is below 0")


GOOD = {"name": "shop", "broker": {"host": "here"}}


def test_what_is_left_out_keeps_its_default_and_whole_numbers_are_numbers() -> None:
    assert record(Service)(GOOD, "x.toml") == Service("shop", Broker("here"))
    found = record(Service)(
        {**GOOD, "rate": 2, "limit": 3, "notes": ["a"], "others": [{"host": "b"}]}, "x.toml"
    )
    assert found == Service("shop", Broker("here"), 2.0, 3, False, ("a",), (Broker("b"),))
    assert isinstance(found.rate, float)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"colour": 1}, "x.toml: unknown key 'colour'; known keys: name, broker"),
        ({"name": "yard"}, "x.toml: name: must be one of shop, hall"),
        ({"broker": {}}, "x.toml: broker: key host is missing"),
        ({"broker": {"host": "a", "port": 0}}, "x.toml: broker.port: must be an integer from 1 to 65535"),
        ({"broker": 3}, "x.toml: broker: must be an object"),
        ({"rate": float("inf")}, "x.toml: rate: must be a finite number"),
        ({"rate": float("nan")}, "x.toml: rate: must be a finite number"),
        ({"rate": True}, "x.toml: rate: must be a finite number"),
        ({"rate": -1}, "x.toml: rate is below 0"),
        ({"limit": 1.5}, "x.toml: limit: must be an integer"),
        ({"limit": None}, "x.toml: limit: must be an integer"),
        ({"loud": 1}, "x.toml: loud: must be true or false"),
        ({"notes": "a"}, "x.toml: notes: must be a list"),
        ({"notes": [1]}, "x.toml: notes[0]: must be text"),
        ({"others": [{"host": 1}]}, "x.toml: others[0].host: must be text"),
    ],
)
def test_a_misfit_names_the_file_the_key_and_what_is_wanted(change: dict[str, object], what: str) -> None:
    with pytest.raises(ModelError) as caught:
        record(Service)({**GOOD, **change}, "x.toml")
    assert str(caught.value).startswith(what)


def test_errors_are_of_the_kind_that_the_file_is() -> None:
    with pytest.raises(ConfigError, match=r"^x\.toml: loud: must be true or false$"):
        read_as(ConfigError, record(Service), {**GOOD, "loud": "yes"}, "x.toml")

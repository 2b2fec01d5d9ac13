"""Which connections stay open when there are too many of them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeharfer.runtime.http.limiter import ConnectionLimiter


@dataclass(eq=False)
class Link:
    address: str
    waiting_since_s: float | None = 0.0
    closed: bool = False

    def abort(self) -> None:
        self.closed = True


def test_an_address_has_a_share_and_its_longest_wait_goes_first() -> None:
    limiter = ConnectionLimiter(10, 3)
    links = [Link("a", 2.0), Link("a", 1.0), Link("a", None), Link("b", 0.0)]
    assert all(limiter.admit(link) for link in links)
    assert limiter.admit(Link("a", 3.0))
    assert [link.closed for link in links] == [False, True, False, False]


def test_beyond_the_total_the_address_with_the_most_connections_gives_way() -> None:
    limiter = ConnectionLimiter(4, 3)
    links = [Link("a", 0.0), Link("b", 3.0), Link("b", 2.0), Link("b", 4.0)]
    assert all(limiter.admit(link) for link in links)
    assert limiter.admit(Link("c", 5.0))
    assert [link.closed for link in links] == [False, False, True, False]


def test_clients_that_wait_for_the_server_are_never_cut() -> None:
    limiter = ConnectionLimiter(3, 2)
    busy = [Link("a", None), Link("a", None), Link("b", None)]
    assert all(limiter.admit(link) for link in busy)
    assert not limiter.admit(Link("a")) and not limiter.admit(Link("c"))
    assert not any(link.closed for link in busy)


def test_a_place_is_free_again_when_a_connection_is_gone() -> None:
    limiter = ConnectionLimiter(1, 1)
    first = Link("a", None)
    assert limiter.admit(first) and not limiter.admit(Link("b"))
    limiter.remove(first)
    limiter.remove(first)
    assert limiter.admit(Link("b"))

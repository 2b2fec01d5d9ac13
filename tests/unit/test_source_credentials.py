"""Logins: the examples of the standards, and what servers may ask twice."""

from __future__ import annotations

import re
import secrets

import pytest

from edgeharfer.runtime.source.credentials import Login

NONCE = '"dcd98b7102dd2f0e8b11d0f600bfb0c093"'
OLD = f'Digest realm="testrealm@host.com", nonce={NONCE}, opaque="5ccc069c403ebaf9f0171e9517f40e41"'


def response(value: str | None) -> str:
    found = re.search(r'response="(\w+)"', value or "")
    return found[1] if found else ""


def test_the_example_of_rfc_7617() -> None:
    login = Login("Aladdin", "open sesame")
    assert login.authorize("GET", "/") is None
    assert login.accept_challenge(['Basic realm="WallyWorld"'])
    assert login.authorize("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_the_example_of_rfc_2069_as_corrected() -> None:
    """Without qop, as most cameras ask."""
    login = Login("Mufasa", "CircleOfLife")
    assert login.accept_challenge([OLD])
    assert response(login.authorize("GET", "/dir/index.html")) == "1949323746fe6a43ef61f9606e7febea"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr(secrets, "token_hex", lambda _: own)
    login = Login("Mufasa", "Circle of Life")
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    asked = (
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}"'
    )
    assert login.accept_challenge([asked])
    value = login.authorize("GET", "/dir/index.html")
    assert response(value) == expected
    assert value and "nc=00000001" in value and f"algorithm={algorithm}" in value
    assert "nc=00000002" in (login.authorize("GET", "/") or "")


def test_digest_goes_before_basic_and_unknown_ones_are_passed_over() -> None:
    login = Login("a", "b")
    assert not login.accept_challenge(["Negotiate", 'Digest realm="x", nonce="y", algorithm=MD5-sess'])
    assert login.accept_challenge(['Basic realm="x"', OLD])
    assert (login.authorize("GET", "/") or "").startswith("Digest ")


def test_a_second_challenge_means_a_wrong_password_unless_the_nonce_is_new() -> None:
    login = Login("a", "b")
    assert login.accept_challenge([OLD])
    assert not login.accept_challenge([OLD])
    assert login.accept_challenge([f"{OLD}, stale=TRUE"])
    assert login.accept_challenge([OLD.replace("dcd9", "0000")])
    basic = Login("a", "b")
    assert basic.accept_challenge(["Basic realm=x"]) and not basic.accept_challenge(["Basic realm=x"])


def test_a_server_cannot_end_the_field() -> None:
    login = Login('a"b\\c', "pw")
    assert login.accept_challenge(['Digest realm="x\r\nEvil: 1", nonce="y"'])
    value = login.authorize("GET", "/") or ""
    assert "\r" not in value and "\n" not in value and 'username="a\\"b\\\\c"' in value

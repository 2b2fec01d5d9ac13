"""The HTTP server: what it takes for a request, bodies, the route table, and the ends of connections."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import threading
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.http.body import Body
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import Request, Response
from edgeharfer.runtime.http.origins import LOOPBACK, OriginPolicy
from edgeharfer.runtime.http.router import Handler, Route, Router, file_response, static_routes
from edgeharfer.runtime.http.server import HttpServer, ServerThread, content_security_policy, listen

PATIENCE_S = 10.0
HOST = "Host: localhost"


async def echo(request: Request) -> Response:
    """The body, and which route it was."""
    data = b""
    while piece := await request.body.read():
        data += piece
    return Response(data + repr(sorted(request.params.items())).encode(), "text/plain")


async def boom(request: Request) -> Response:
    raise ValueError("a defect")


async def endless(request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(100_000)

    return Response(parts())


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.2)
    return Response(b"late")


ROUTES = [
    Route("GET", "/", echo),
    Route("POST", "/echo", echo),
    Route("GET", "/boom", boom),
    Route("GET", "/endless", endless),
    Route("GET", "/slow", slow),
    Route("GET", "/jobs/{job}/digest", slow),
    Route("GET", "/jobs/{job}/{file}", echo),
    Route("DELETE", "/jobs/{job}/{file}", echo),
]


@contextmanager
def serving(handler: Handler | None = None, limits: HttpLimits | None = None) -> Iterator[ServerThread]:
    listener = listen(LOOPBACK, 0, "")
    server = HttpServer(handler or Router(ROUTES, head=True), {}, OriginPolicy(), limits or HttpLimits())
    with ServerThread(server, listener, "test") as thread:
        yield thread


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    with serving() as thread:
        yield thread


def connect(server: ServerThread) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), PATIENCE_S)


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", HOST, *fields, "", ""]).encode("latin-1") + body


def ask(server: ServerThread, data: bytes) -> bytes:
    """All that is answered; the client sends nothing further."""
    with closing(connect(server)) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(1 << 16), b""))


def statuses(answers: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\xff\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: local\nhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n", 400),
        (request("GET /?" + "&".join("abcdefgh" * 8)), 400),
        (request("POST /echo", "Content-Length: 1", "Content-Length: 1", body=b"x"), 400),
        (request("POST /echo", "Content-Length: 1", "Transfer-Encoding: chunked", body=b"x"), 400),
        (request("POST /echo", "Content-Length: +1", body=b"x"), 400),
        (request("POST /echo", "Content-Length: 1, 1", body=b"x"), 400),
        (request("POST /echo", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
        (request("GET /", "Content-Length: 1", body=b"x"), 413),
        (request("GET /", "X: " + "x" * 40_000), 431),
        (request("GET /", "X: x" + " " * 30_000 + "x"), 200),
        (b"\r\n" + request("GET /"), 200),
        (request("GET /", "X: \xff\t\x80"), 200),
    ],
)
def test_a_head_is_read_strictly(server: ServerThread, data: bytes, status: int) -> None:
    assert statuses(ask(server, data)) == [status]


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        ("GET /jobs/7/digest", 200, None),
        ("GET /jobs/7/report.pdf", 200, None),
        ("HEAD /", 200, None),
        ("PUT /jobs/7/report.pdf", 405, b"Allow: DELETE, GET"),
        ("HEAD /echo", 404, None),
        ("GET /echo", 404, None),
        ("POST /nothing", 404, None),
        ("GET /jobs/7", 404, None),
        ("GET /jobs/7/a%2fb", 404, None),
        ("GET //jobs/7/a", 404, None),
        ("GET http://localhost/", 404, None),
        ("GET *", 404, None),
    ],
)
def test_the_first_route_that_fits_answers(
    server: ServerThread, line: str, status: int, allow: bytes | None
) -> None:
    answer = ask(server, request(line))
    assert statuses(answer) == [status]
    assert allow is None or allow in answer
    if line.endswith("digest"):
        assert answer.endswith(b"late")
    if line.endswith("report.pdf") and status == 200:
        assert b"('job', '7')" in answer and b"('file', 'report.pdf')" in answer
    if line.startswith("HEAD") and status == 200:
        assert answer.endswith(b"\r\n\r\n") and b"Content-Length: 2" in answer


def test_requests_are_answered_in_turn_on_one_connection(server: ServerThread) -> None:
    answers = ask(server, request("GET /slow") * 2 + request("POST /echo", "Content-Length: 2", body=b"ab"))
    assert statuses(answers) == [200, 200, 200] and answers.endswith(b"ab[]")
    assert statuses(ask(server, request("GET /", "Connection: close") + request("GET /"))) == [200]
    assert statuses(ask(server, request("GET /").replace(b"1.1", b"1.0") + request("GET /"))) == [200]


def test_a_response_that_closes_the_connection_is_the_last() -> None:
    async def refuse(request: Request) -> Response:
        raise HttpError(408, "too late", {"Connection": "close"})

    with serving(refuse) as server:
        assert statuses(ask(server, request("GET /") * 2)) == [408]


def test_an_error_is_one_line_of_json_with_safe_headers(server: ServerThread) -> None:
    head, _, body = ask(server, request("GET /nothing")).partition(b"\r\n\r\n")
    assert body == b'{"error":"not found"}'
    for field in (b"Cache-Control: no-store", b"X-Content-Type-Options: nosniff", b"X-Frame-Options: DENY"):
        assert field in head


@pytest.mark.parametrize(
    ("chunks", "data"),
    [
        (b"4\r\nabcd\r\n0\r\n\r\n", b"abcd"),
        (b"2;x=y\r\nab\r\n2 \r\ncd\r\n000\r\nTrailer: x\r\n\r\n", b"abcd"),
        (b"zz\r\n", None),
        (b"-1\r\n", None),
        (b"0x2\r\nab\r\n", None),
        (b"2\r\nabcd\r\n0\r\n\r\n", None),
        (b"4\r\nab", None),
        (b"0\r\n" + b"Trailer: x\r\n" * 17, None),
        (b"9" * 70_000, None),
    ],
)
def test_chunks(chunks: bytes, data: bytes | None) -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader(limit=1 << 15)
        reader.feed_data(chunks)
        reader.feed_eof()
        body, found = Body(reader, None), b""
        while piece := await body.read():
            found += piece
        return found

    if data is None:
        with pytest.raises(HttpError) as refused:
            asyncio.run(read())
        assert refused.value.status == 400
    else:
        assert asyncio.run(read()) == data


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server: ServerThread) -> None:
    with closing(connect(server)) as link:
        link.sendall(request("POST /echo", "Content-Length: 2", "Expect: 100-continue"))
        assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(b"ab")
        assert statuses(link.recv(1000)) == [200]
    with closing(connect(server)) as link:  # and otherwise only learns the answer
        link.sendall(request("POST /nothing", "Content-Length: 2", "Expect: 100-continue"))
        assert statuses(b"".join(iter(lambda: link.recv(1000), b""))) == [404]


def test_a_defect_ends_its_connection_and_is_logged(
    server: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(server, request("GET /boom")) == b""
    assert "a defect" in caplog.text
    assert statuses(ask(server, request("GET /"))) == [200]


def test_the_end_waits_for_a_response_and_not_for_a_client_that_does_not_read() -> None:
    entered = threading.Event()

    async def late(request: Request) -> Response:
        entered.set()
        return await slow(request)

    router = Router([Route("GET", "/late", late), Route("GET", "/endless", endless)])
    with ExitStack() as stack, serving(router) as server:
        waiting, stuck, idle = (stack.enter_context(closing(connect(server))) for _ in range(3))
        stuck.sendall(request("GET /endless"))
        assert stuck.recv(12) == b"HTTP/1.1 200"
        waiting.sendall(request("GET /late"))
        assert entered.wait(PATIENCE_S)
        server.__exit__(None, None, None)
        assert statuses(waiting.recv(1000)) == [200] and idle.recv(1) == b""
        assert server.server.connections == 0


def test_one_address_has_its_share() -> None:
    limits = replace(HttpLimits(), connections=10, connections_per_address=2)
    with serving(limits=limits) as server, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(closing(connect(server)))
        assert statuses(ask(server, request("GET /"))) == [200]
        assert server.server.connections <= 2


def test_files_of_a_folder_are_served_and_downloads_have_names(tmp_path: Path) -> None:
    for name in ("index.html", "a.css", "secret.txt"):
        (tmp_path / name).write_text(name)
    routes = static_routes(tmp_path)

    async def report(request: Request) -> Response:
        return file_response(tmp_path / request.params["name"], "text/plain", "Größe.txt")

    with serving(Router([*routes, Route("GET", "/get/{name}", report)])) as server:
        assert ask(server, request("GET /")).endswith(b"index.html")
        assert b"text/css" in ask(server, request("GET /a.css"))
        assert statuses(ask(server, request("GET /secret.txt") + request("GET /index.html"))) == [404, 404]
        got = ask(server, request("GET /get/secret.txt"))
        assert b"filename*=utf-8''Gr%C3%B6%C3%9Fe.txt" in got and got.endswith(b"secret.txt")
        assert statuses(ask(server, request("GET /get/none"))) == [404]


def test_no_thread_is_left_and_a_taken_port_is_one_line() -> None:
    before = threading.active_count()
    with serving() as server, pytest.raises(SinkError, match=r"in use by another program; give another"):
        listen(LOOPBACK, server.port, "give another one")
    assert threading.active_count() == before


def test_a_policy_names_all_that_is_allowed() -> None:
    expected = (
        "default-src 'none'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert content_security_policy(img="'self'") == expected


def test_the_end_closes_a_connection_whose_task_has_not_begun() -> None:
    async def work(client: socket.socket) -> None:
        server = HttpServer(Router(ROUTES), {}, OriginPolicy(), HttpLimits())
        asyncio.get_running_loop().call_soon(client.connect, listener.getsockname())

        async def accepted() -> None:
            while not server.connections:
                await asyncio.sleep(0)

        await server.run(listener, accepted())

    listener = listen(LOOPBACK, 0, "")
    with socket.socket() as client, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.settimeout(PATIENCE_S)
        asyncio.run(work(client))
        gc.collect()
        with suppress(ConnectionError):
            assert client.recv(1) == b""
    assert not caught


@pytest.mark.parametrize("turns", range(6))
def test_the_end_closes_connections_that_were_just_accepted(turns: int) -> None:
    """At each moment between the call and its answer."""

    async def work() -> None:
        server = HttpServer(Router(ROUTES), {}, OriginPolicy(), HttpLimits())

        async def called() -> None:
            await asyncio.sleep(0.01)  # the loop listens
            for client in clients:
                client.connect(listener.getsockname())
            for _ in range(turns):
                await asyncio.sleep(0)

        await server.run(listener, called())

    listener = listen(LOOPBACK, 0, "")
    with ExitStack() as stack, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clients = [stack.enter_context(socket.socket()) for _ in range(5)]
        asyncio.run(work())
        gc.collect()
    assert not caught

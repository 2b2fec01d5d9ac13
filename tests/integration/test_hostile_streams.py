"""A stream reaches the address that was given and nothing else: redirects, playlists, logins."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.container import InputContainer

from edgeharfer.cli import run_command
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import media, open_source, stream_source
from edgeharfer.runtime.source.endpoint import DuplexStream
from edgeharfer.runtime.source.stream_source import StreamSource
from films import write_film
from hostile_servers import (
    Answer,
    HostileRtspServer,
    TlsFront,
    Victim,
    WebServer,
    motion_jpeg,
    own_certificate,
    redirect,
)
from mjpeg_server import moving

PLAYLIST = {"Content-Type": "application/vnd.apple.mpegurl"}
SEGMENT_FRAMES = 10


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_source, "OPEN_S", 2.0)
    monkeypatch.setattr(stream_source, "READ_S", 1.0)


@pytest.fixture
def victim() -> Iterator[Victim]:
    with Victim() as running:
        yield running


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def rtsp() -> Iterator[HostileRtspServer]:
    with HostileRtspServer() as running:
        yield running


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten frames as an MPEG transport stream."""
    path = tmp_path_factory.mktemp("segment") / "s.ts"
    write_film(path, (np.full((48, 64, 3), number * 20, np.uint8) for number in range(SEGMENT_FRAMES)), 25)
    return path.read_bytes()


def playlist(*lines: str) -> Answer:
    text = "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", *lines, "#EXT-X-ENDLIST", ""])
    return Answer(text.encode(), fields=PLAYLIST)


def udp_ports() -> set[str]:
    """The local addresses of the UDP sockets of this machine."""
    text = "".join(Path(f"/proc/net/{name}").read_text() for name in ("udp", "udp6"))
    return set(re.findall(r"^ *\d+: ([0-9A-F]+:[0-9A-F]+)", text, re.MULTILINE))


def refused(url: str, *, follow_redirects: bool = False) -> str:
    with pytest.raises(SourceError) as caught:
        StreamSource(url, SystemClock(), follow_redirects=follow_redirects)
    return str(caught.value)


def frames(source: StreamSource) -> int:
    with source:
        return sum(1 for _ in iter(source.read, None))


def test_a_redirect_is_followed_only_where_that_was_asked_for(web: WebServer) -> None:
    with WebServer({"/elsewhere?key=S3cret": motion_jpeg()}) as other:
        target = f"{other.url}/elsewhere?key=S3cret"
        web.answers["/video"] = redirect(target)
        message = refused(f"{web.url}/video")
        assert f"{other.url}/elsewhere?key=***" in message and "--follow-redirects" in message
        assert "S3cret" not in message
        assert other.asked == []
        url = f"{web.url}/video".replace("//", "//admin:hunter2@")
        with StreamSource(url, SystemClock(), follow_redirects=True) as source:
            assert source.read() is not None
        assert other.asked == ["/elsewhere?key=S3cret"]
        assert not any("Authorization" in head for head in other.heads)


def test_a_redirect_on_the_same_server_is_followed(web: WebServer) -> None:
    web.answers |= {"/video": redirect("/mjpeg?x=1"), "/mjpeg?x=1": motion_jpeg(), "/loop": redirect("/loop")}
    with StreamSource(f"{web.url}/video", SystemClock()) as source:
        assert source.read() is not None
    assert "too many redirects" in refused(f"{web.url}/loop")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "rtsp://127.0.0.1:{port}/x", "gopher://x/", "//[", "tel:1"]
)
def test_a_redirect_to_something_else_than_http_is_never_followed(
    target: str, web: WebServer, victim: Victim
) -> None:
    web.answers["/video"] = redirect(target.format(port=victim.port))
    assert "redirects to" in refused(f"{web.url}/video", follow_redirects=True)
    assert victim.hits == []


HOSTILE = {
    "segment": "#EXTINF:1,\n{victim}/s.ts",
    "second segment": "#EXTINF:1,\n/s.ts\n#EXTINF:1,\n{victim}/s.ts",
    "key": '#EXT-X-KEY:METHOD=AES-128,URI="{victim}/key"\n#EXTINF:1,\n/s.ts',
    "map": '#EXT-X-MAP:URI="{victim}/map"\n#EXTINF:1,\n/s.ts',
    "variant": "#EXT-X-STREAM-INF:BANDWIDTH=1\n{victim}/v.m3u8",
    "file": "#EXTINF:1,\nfile:///etc/passwd",
    "crypto": "#EXTINF:1,\ncrypto+{victim}/s.ts",
    "concat": "#EXTINF:1,\nconcat:{victim}/s.ts|{victim}/t.ts",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_playlist_leads_nowhere_else(case: str, web: WebServer, victim: Victim, segment: bytes) -> None:
    lines = HOSTILE[case].format(victim=f"http://127.0.0.1:{victim.port}")
    web.answers |= {"/live.m3u8": playlist(lines), "/s.ts": Answer(segment)}
    message = refused(f"{web.url}/live.m3u8")
    assert "is a playlist that points to" in message
    assert victim.hits == []
    assert web.asked == ["/live.m3u8"]


def test_a_segment_that_redirects_is_not_followed(web: WebServer, victim: Victim) -> None:
    web.answers |= {
        "/live.m3u8": playlist("#EXTINF:1,", "/s.ts"),
        "/s.ts": redirect(f"http://127.0.0.1:{victim.port}/"),
    }
    assert "redirects to" in refused(f"{web.url}/live.m3u8")
    assert victim.hits == []


def test_a_segment_that_is_a_playlist_is_not_read_as_one(web: WebServer, victim: Victim) -> None:
    inner = playlist("#EXTINF:1,", f"http://127.0.0.1:{victim.port}/s.ts")
    web.answers |= {"/live.m3u8": playlist("#EXTINF:1,", "/s.ts"), "/s.ts": inner}
    refused(f"{web.url}/live.m3u8")
    assert victim.hits == []


def test_a_playlist_of_the_same_server_plays(web: WebServer, segment: bytes) -> None:
    half = len(segment) // 188 // 2 * 188
    web.answers |= {
        "/live.m3u8": playlist(
            "#EXT-X-STREAM-INF:BANDWIDTH=5", "low", "#EXT-X-STREAM-INF:BANDWIDTH=9", "hi/x"
        ),
        "/hi/x": playlist("#EXTINF:1,", "a.ts", "#EXTINF:1,", f"{web.url}/hi/b.ts"),
        "/hi/a.ts": Answer(segment[:half]), "/hi/b.ts": Answer(segment[half:]),
    }  # fmt: skip
    assert frames(StreamSource(f"{web.url}/live.m3u8", SystemClock())) == SEGMENT_FRAMES
    assert web.asked == ["/live.m3u8", "/hi/x", "/hi/a.ts", "/hi/b.ts"]


def test_a_playlist_may_lead_elsewhere_where_that_was_asked_for(web: WebServer, segment: bytes) -> None:
    with WebServer({"/s.ts": Answer(segment)}) as other:
        web.answers["/live.m3u8"] = playlist("#EXTINF:1,", f"{other.url}/s.ts")
        source = StreamSource(f"{web.url}/live.m3u8", SystemClock(), follow_redirects=True)
        assert frames(source) == SEGMENT_FRAMES


def test_a_live_playlist_is_joined_near_its_end_and_read_on(web: WebServer, segment: bytes) -> None:
    web.answers |= {f"/{number}.ts": Answer(segment) for number in range(9)}

    def rule(path: str, head: Mapping[str, str]) -> Answer | None:
        if path != "/live.m3u8":
            return None
        last = 5 + sum(asked == path for asked in web.asked)
        names = "".join(f"#EXTINF:0.4,\n{number}.ts\n" for number in range(2, last))
        end = "#EXT-X-ENDLIST\n" if last == 8 else ""
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:0.4\n#EXT-X-MEDIA-SEQUENCE:2\n{names}{end}"
        return Answer(text.encode(), fields=PLAYLIST)

    web.rule = rule
    frames(StreamSource(f"{web.url}/live.m3u8", SystemClock()))
    assert [path for path in web.asked if path.endswith(".ts")] == [
        "/3.ts",
        "/4.ts",
        "/5.ts",
        "/6.ts",
        "/7.ts",
    ]
    assert web.asked.count("/live.m3u8") == 3


def test_a_name_is_looked_up_once(web: WebServer, segment: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a name server cannot send a later request of the same stream to another host."""
    asked: list[object] = []

    def look_up(host: object, port: object, **_: object) -> list[object]:
        asked.append(host)
        place = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    web.answers |= {"/live.m3u8": playlist("#EXTINF:1,", "/s.ts"), "/s.ts": Answer(segment)}
    assert frames(StreamSource(f"http://camera.test:{web.port}/live.m3u8", SystemClock())) == SEGMENT_FRAMES
    assert asked == ["camera.test"]


def test_parts_of_a_file_and_a_key_of_the_same_server(web: WebServer, segment: bytes) -> None:
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers", reason="needs the sign extra")
    key, vector, pad = bytes(range(16)), (7).to_bytes(16, "big"), 16 - len(segment) % 16
    encryptor = ciphers.Cipher(ciphers.algorithms.AES128(key), ciphers.modes.CBC(vector)).encryptor()
    secret = encryptor.update(segment + bytes([pad] * pad)) + encryptor.finalize()
    web.answers |= {
        "/live.m3u8": playlist(
            "#EXT-X-MEDIA-SEQUENCE:7", '#EXT-X-KEY:METHOD=AES-128,URI="/key"', "#EXTINF:1,",
            f"#EXT-X-BYTERANGE:{len(secret)}@5", "/s.ts",
        ),
        "/key": Answer(key), "/s.ts": Answer(b"12345" + secret + b"more", ranges=True),
    }  # fmt: skip
    assert frames(StreamSource(f"{web.url}/live.m3u8", SystemClock())) == SEGMENT_FRAMES


REFERENCES = {
    "SDP": ("application/sdp", "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            "m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
    "ffconcat": ("text/plain", "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/x.ts'\n"),
    "DASH": ("application/dash+xml", '<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>'),
    "ASX": ("video/x-ms-asf", '<asx version="3.0"><ref href="http://127.0.0.1:{port}/"/></asx>'),
    "a web page": ("text/html", '<html><video src="http://127.0.0.1:{port}/"></html>'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFERENCES)
def test_what_refers_to_other_addresses_is_refused(case: str, web: WebServer, victim: Victim) -> None:
    kind, text = REFERENCES[case]
    before = udp_ports()
    web.answers["/video"] = Answer(text.format(port=victim.port).encode(), fields={"Content-Type": kind})
    message = refused(f"{web.url}/video", follow_redirects=True)
    assert (kind if kind == "text/html" else "refers to other files or addresses") in message
    assert victim.hits == [] and udp_ports() <= before


@pytest.mark.parametrize("case", [*REFERENCES, "HLS"])
@pytest.mark.parametrize("suffix", [".txt", ".mp4", ".m3u8", ".sdp", ".mpd"])
def test_a_local_file_leads_nowhere_else(case: str, suffix: str, victim: Victim, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{victim.port}"
    text = f"#EXTM3U\n#EXTINF:1,\n{address}/s.ts\n#EXT-X-ENDLIST\n" if case == "HLS" else REFERENCES[case][1]
    path = tmp_path / f"video{suffix}"
    path.write_text(text.format(port=victim.port))
    before = udp_ports()
    with pytest.raises(SourceError, match="video"):
        open_source(path)
    assert victim.hits == [] and udp_ports() <= before


def test_a_local_playlist_of_local_files_is_refused(segment: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.ts").write_bytes(segment)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\ns.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError, match="refers to other files or addresses"):
        open_source(tmp_path / "list.m3u8")
    with open_source(tmp_path / "s.ts") as source:
        assert source.read() is not None


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_an_rtsp_redirect_is_not_followed(method: str, rtsp: HostileRtspServer, victim: Victim) -> None:
    rtsp.location, rtsp.redirect_at = f"rtsp://127.0.0.1:{victim.port}/x?token=S3cret", method
    message = refused(rtsp.url)
    assert f"redirects to rtsp://127.0.0.1:{victim.port}/x?token=***" in message
    assert victim.hits == []


def test_an_rtsp_redirect_is_followed_where_that_was_asked_for(rtsp: HostileRtspServer) -> None:
    with HostileRtspServer() as other:
        rtsp.location = f"rtsp://127.0.0.1:{other.port}/other"
        with StreamSource(rtsp.url, SystemClock(), follow_redirects=True) as source:
            assert source.read() is not None
        assert other.requests[0][0] == f"DESCRIBE rtsp://127.0.0.1:{other.port}/other RTSP/1.0"


def test_an_rtsp_description_leads_nowhere_else(rtsp: HostileRtspServer, victim: Victim) -> None:
    rtsp.sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.2\r\ns=x\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
        f"a=control:rtsp://127.0.0.1:{victim.port}/\r\nm=video {victim.port} RTP/AVP 26\r\n"
        f"a=control:rtsp://127.0.0.1:{victim.port}/track1\r\n"
    )
    before = udp_ports()
    with StreamSource(rtsp.url, SystemClock()) as source:
        assert source.read() is not None
        assert udp_ports() <= before
    assert victim.hits == []


@pytest.mark.parametrize(
    "transport",
    [
        "RTP/AVP;unicast;client_port=5000-5001;server_port={port}-{port};source=127.0.0.1",
        "RTP/AVP;multicast;destination=239.1.1.1;port={port}-{port}",
    ],
)
def test_an_rtsp_camera_cannot_choose_udp(transport: str, rtsp: HostileRtspServer, victim: Victim) -> None:
    rtsp.transport = transport.format(port=victim.port)
    before = udp_ports()
    assert "no video received" in refused(rtsp.url)
    assert victim.hits == [] and udp_ports() <= before


def test_the_relay_is_for_ffmpeg_alone(rtsp: HostileRtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects to its port without the secret part of the address reaches no camera."""
    opened = media.open_container

    def intruded(url: str, **options: Any) -> InputContainer:
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), 5) as intruder:
            intruder.sendall(f"OPTIONS rtsp://127.0.0.1:{port}/video RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            assert intruder.recv(100) == b""
        assert rtsp.requests == []
        return opened(url, **options)

    monkeypatch.setattr(stream_source, "open_container", intruded)
    with StreamSource(rtsp.url, SystemClock()) as source:
        assert source.read() is not None


def digest(answer: str, user: str, password: str, method: str, algorithm: str) -> bool:
    """Whether an Authorization field is right (RFC 7616, 3.4.1)."""
    values = {
        key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,]*))', answer)
    }

    def of(*parts: str) -> str:
        return hashlib.new(algorithm, ":".join(parts).encode()).hexdigest()

    secret, request = of(user, values["realm"], password), of(method, values["uri"])
    middle = [values["nc"], values["cnonce"], "auth"] if "qop" in values else []
    return bool(values["response"] == of(secret, values["nonce"], *middle, request))


@pytest.mark.parametrize(
    ("challenge", "algorithm"),
    [
        ('Digest realm="cam", nonce="n1"', "md5"),
        ('Digest realm="cam", nonce="n1", qop="auth,auth-int", opaque="o", algorithm=SHA-256', "sha256"),
        ('Basic realm="cam"', ""),
    ],
)
def test_logins_over_http_and_rtsp(
    challenge: str, algorithm: str, web: WebServer, rtsp: HostileRtspServer
) -> None:
    def right(given: str, method: str) -> bool:
        if not algorithm:
            return given == "Basic " + base64.b64encode(b"ad min:p@ss:w").decode()
        return given.startswith("Digest ") and digest(given, "ad min", "p@ss:w", method, algorithm)

    asked = Answer(status=401, fields={"WWW-Authenticate": challenge})
    web.answers["/video?x=1"] = motion_jpeg()
    web.rule = lambda path, head: None if right(head.get("Authorization") or "", "GET") else asked
    with StreamSource(f"{web.url}/video?x=1".replace("//", "//ad%20min:p%40ss:w@"), SystemClock()) as source:
        assert source.read() is not None
    rtsp.challenge = challenge
    with StreamSource(rtsp.url.replace("//", "//ad%20min:p%40ss:w@"), SystemClock()) as source:
        assert source.read() is not None
    logins = [
        (line.split()[0], head["authorization"]) for line, head in rtsp.requests if "authorization" in head
    ]
    assert {"DESCRIBE", "SETUP", "PLAY"} <= {method for method, given in logins if right(given, method)}


def test_a_wrong_login_is_told(web: WebServer, rtsp: HostileRtspServer) -> None:
    asked = Answer(status=401, fields={"WWW-Authenticate": 'Digest realm="cam", nonce="n1"'})
    web.rule = lambda path, head: asked
    assert "login failed" in refused(f"{web.url}/video".replace("//", "//a:b@"))
    assert len(web.asked) == 2
    rtsp.challenge = 'Basic realm="cam"'
    assert "login failed" in refused(rtsp.url)


def test_a_film_whose_index_is_at_its_end(web: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(1)
    write_film(path, (noise.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(12)), 25)
    data = path.read_bytes()
    assert data.rindex(b"moov") > len(data) // 2 > 1 << 18
    web.answers["/clip.mp4"] = Answer(data, ranges=True)
    assert frames(StreamSource(f"{web.url}/clip.mp4", SystemClock())) == 12
    assert 2 <= len(web.asked) <= 4


def test_the_options_of_the_environment_are_left_as_they_were(
    web: WebServer, monkeypatch: pytest.MonkeyPatch, segment: bytes
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;nobuffer")
    web.answers["/s.ts"] = Answer(segment)
    assert frames(StreamSource(f"{web.url}/s.ts", SystemClock())) == SEGMENT_FRAMES
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "fflags;nobuffer"


def test_no_output_holds_a_secret_of_the_address(
    web: WebServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A port where nobody listens, a camera that works, and mistakes on the command line."""

    def address(scheme: str, host: str) -> str:
        return (
            f"{scheme}://admin:S3cret@{host}/user=x&password=S3cret;pwd=S3cret?token=S3cret&KEY=S3cret#S3cret"
        )

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
        alive = address("http", f"127.0.0.1:{web.port}")
        web.rule = lambda path, head: motion_jpeg(40)
        files = ["--events", str(tmp_path / "e.jsonl"), "--stats", str(tmp_path / "s.json")]
        options = ["--view", "none", "--action", "off", "--emotion", "off", *files]
        dead = [address(scheme, gone) for scheme in ("http", "rtsp", "ftp")]
        codes = [run_command(["run", "--source", url, *options]) for url in dead]
        codes.append(run_command(["run", alive]))
        codes.append(run_command(["run", "--source", alive.replace("://", ":/"), *options]))
        codes.append(run_command(["analyze", alive, "--out", str(tmp_path / "out")]))
        assert codes == [2] * 6
        assert run_command(["run", "--source", alive, "--max-frames", "3", *options]) == 0
    said = capfd.readouterr()
    written = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert '"kind":"summary"' in written.replace(" ", "") and gone in said.err
    assert "S3cret" not in said.out + said.err + caplog.text + written


def test_a_snapshot_is_asked_for_again(web: WebServer) -> None:
    """An image on a web server is no film that has ended: the supervisor connects again for the next one."""
    web.answers["/snap.jpg"] = Answer(moving(3), fields={"Content-Type": "image/jpeg"})
    with StreamSource(f"{web.url}/snap.jpg", SystemClock()) as source:
        assert source.read() is not None
        with pytest.raises(SourceError, match="lost"):
            source.read()


def test_a_camera_with_a_certificate_of_its_own(
    web: WebServer, rtsp: HostileRtspServer, tmp_path: Path
) -> None:
    context = own_certificate(tmp_path / "pair.pem")
    web.answers["/video"] = motion_jpeg()
    with TlsFront(context, web.port) as front, StreamSource(front.url("https"), SystemClock()) as source:
        assert source.details.startswith("HTTPS MJPG") and source.read() is not None
    with TlsFront(context, rtsp.port) as front, StreamSource(front.url("rtsps"), SystemClock()) as source:
        assert source.details.startswith("RTSPS MJPG") and source.read() is not None


def test_one_tls_connection_is_read_and_written_at_once(tmp_path: Path) -> None:
    """Both directions are full, so that reads and writes of both ends overlap."""
    context = own_certificate(tmp_path / "pair.pem")
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    sent = np.random.default_rng(3).bytes(4 << 20)
    one, two = socket.socketpair()
    with ThreadPoolExecutor(4) as pool:
        accepting = pool.submit(context.wrap_socket, one, server_side=True)
        with trusting.wrap_socket(two) as client, accepting.result() as server:
            ends = [DuplexStream(client), DuplexStream(server)]
            writes = [pool.submit(end.sendall, sent) for end in ends]
            reads = [pool.submit(io.BufferedReader(end).read, len(sent)) for end in ends]
            assert [read.result() == sent for read in reads] == [True, True]
            assert [write.result() for write in writes] == [None, None]


def test_the_option_of_run(web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--view", "none", "--action", "off", "--emotion", "off", "--max-frames", "2", "--events", "-"]
    with WebServer({"/elsewhere": motion_jpeg(40)}) as other:
        web.answers["/video"] = redirect(f"{other.url}/elsewhere")
        command = ["run", "--source", f"{web.url}/video", *options]
        assert run_command(command) == 2
        said = capfd.readouterr().err.splitlines()
        assert len(said) == 1 and f"redirects to {other.url}/elsewhere: not followed" in said[0]
        config = tmp_path / "run.toml"
        config.write_text("follow-redirects = true\n")
        assert run_command([*command, "--config", str(config)]) == 0
        assert '"kind":"summary"' in capfd.readouterr().out.replace(" ", "")


def test_the_setting_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    live = pytest.importorskip("edgeharfer.app.live", reason="needs the app extra")
    asked: list[object] = []

    def opened(spec: str, **options: object) -> None:
        asked.append((spec, options["follow_redirects"]))
        raise SourceError(f"{spec}: nobody is there")

    async def watch(allowed: bool) -> None:
        view = live.LiveSession({}, lambda: None, SystemClock(), follow_redirects=allowed)
        await view.start("http://cam/")
        await view.stop()

    monkeypatch.setattr(live, "open_source", opened)
    for allowed in (False, True):
        asyncio.run(watch(allowed))
    assert asked == [("http://cam/", False), ("http://cam/", True)]

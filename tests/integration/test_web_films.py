"""Films on web servers keep their frames, their order and their times; live streams stay live."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import open_source, stream_source
from edgeharfer.runtime.source.direct import DirectSource
from edgeharfer.runtime.source.stream_decoders import Pacer
from edgeharfer.runtime.source.stream_source import StreamSource
from edgeharfer.runtime.types import Frame, Image
from hostile_servers import Answer, HostileRtspServer, TlsFront, WebServer, motion_jpeg, own_certificate
from media_clips import encode_clip
from mjpeg_server import moving

TIMES = [0, 40, 80, 500, 505, 900, 1300, 1340, 2000, 2001, 3000, 5000]
"""Of a film of variable rate, in milliseconds."""
STEP = 15


def pictures() -> list[Image]:
    noise = np.random.default_rng(1).integers(0, 40, (96, 128, 1), np.uint8)
    return [np.repeat(noise, 3, axis=2) + np.uint8(number * STEP) for number in range(len(TIMES))]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_source, "OPEN_S", 2.0)
    monkeypatch.setattr(stream_source, "READ_S", 1.0)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of variable rate, with its index at its end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode_clip(path, pictures(), times=TIMES, time_base=Fraction(1, 1000), options={"crf": "1"})
    data = path.read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    return data


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A transport stream, as of a tuner or a camera."""
    return encode_clip(
        tmp_path_factory.mktemp("live") / "live.ts", pictures(), options={"g": "1"}
    ).read_bytes()


def read_all(url: str) -> list[Frame]:
    with StreamSource(url, SystemClock()) as source:
        return list(iter(source.read, None))


def is_the_film(frames: list[Frame]) -> bool:
    assert [frame.pts_s for frame in frames] == [ms / 1000 for ms in TIMES]
    levels = [round((float(frame.bgr.mean()) - 19.5) / STEP) for frame in frames]
    return levels == [frame.seq for frame in frames] == list(range(len(TIMES)))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_film_has_all_its_frames_with_its_own_times(web: WebServer, film: bytes, ranges: bool) -> None:
    web.answers["/film.mp4"] = Answer(film, ranges=ranges)
    with StreamSource(f"{web.url}/film.mp4", SystemClock()) as source:
        assert (source.live, source.frame_count) == (False, len(TIMES))
        assert source.details.startswith("HTTP H264 128x96")
    assert is_the_film(read_all(f"{web.url}/film.mp4"))


def test_a_film_is_not_hurried_by_the_process_that_reads_it(web: WebServer, film: bytes) -> None:
    web.answers["/film.mp4"] = Answer(film, ranges=True)
    with Capture(open_source(f"{web.url}/film.mp4"), pace="fast") as capture:
        assert not capture.in_real_time
        frames = list(capture)
        assert is_the_film(frames)
    assert (capture.dropped, capture.frames_in, capture.state) == (0, len(TIMES), "ended")


def test_a_film_without_a_process_of_its_own(web: WebServer, film: bytes) -> None:
    web.answers["/film.mp4"] = Answer(film, ranges=True)
    source = DirectSource(lambda: StreamSource(f"{web.url}/film.mp4", SystemClock()))
    with source:
        assert not source.live and not source.restartable
        assert is_the_film(list(iter(source.read, None)))


def test_an_interrupted_film_goes_on_where_it_was_cut(web: WebServer, film: bytes) -> None:
    def cut(path: str, head: Mapping[str, str]) -> Answer:
        return Answer(film, ranges=True, sent=2000, fields={"ETag": '"1"'})

    web.rule = cut
    assert is_the_film(read_all(f"{web.url}/film.mp4"))
    starts = [head["Range"] for head in web.heads if "Range" in head]
    assert len(starts) > len(film) // 2000 - 3
    assert all(head["If-Range"] == '"1"' for head in web.heads if "Range" in head)


def test_a_film_that_cannot_be_continued_is_an_error_of_the_run(web: WebServer, broadcast: bytes) -> None:
    web.answers["/film.ts"] = Answer(broadcast, sent=len(broadcast) // 2)
    source = open_source(f"{web.url}/film.ts")
    with Capture(source, pace="fast") as capture:
        with pytest.raises(SourceError, match="cannot send a part of the file"):
            list(capture)
        assert capture.frames_in > 2 and not source.live


def test_a_film_whose_server_fails_is_an_error(
    web: WebServer, broadcast: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: str, head: Mapping[str, str]) -> Answer:
        start = int(head.get("Range", "=0-")[:-1].partition("=")[2])
        return Answer(broadcast, ranges=True, sent=max(0, half - start))

    half = len(broadcast) // 2
    web.rule = failing
    monkeypatch.setattr(stream_source, "OPEN_S", 0.4)
    with pytest.raises(SourceError, match="the video was interrupted: connection interrupted"):
        read_all(f"{web.url}/film.ts")


def test_a_corrupt_film_is_named_and_counted(web: WebServer, film: bytes) -> None:
    start = film.index(b"mdat") + 4
    middle = start + (film.index(b"moov") - start) // 2
    damaged = film[:middle] + bytes(3000) + film[middle + 3000 :]
    web.answers["/film.mp4"] = Answer(damaged, ranges=True)
    with Capture(open_source(f"{web.url}/film.mp4"), pace="fast") as capture:
        seqs = [frame.seq for frame in capture]
    assert 0 < capture.source.unreadable < len(TIMES)
    assert seqs == list(range(len(seqs))) and len(seqs) >= len(TIMES) // 2
    assert "the video is corrupt" in capture.source.skipped[0][1]


def test_another_file_of_the_same_name_is_not_taken_for_the_rest(web: WebServer, broadcast: bytes) -> None:
    def replaced(path: str, head: Mapping[str, str]) -> Answer:
        if "Range" in head:
            return Answer(broadcast * 2, ranges=True)
        return Answer(broadcast, ranges=True, sent=len(broadcast) // 2)

    web.rule = replaced
    with (
        StreamSource(f"{web.url}/film.ts", SystemClock()) as source,
        pytest.raises(SourceError, match="has changed"),
    ):
        list(iter(source.read, None))


def test_a_film_of_segments_keeps_its_times(web: WebServer, broadcast: bytes) -> None:
    half = len(broadcast) // 188 // 2 * 188
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n1.ts\n#EXTINF:1,\n2.ts\n#EXT-X-ENDLIST\n"
    web.answers |= {
        "/film.m3u8": Answer(text.encode()),
        "/1.ts": Answer(broadcast[:half], ranges=True, sent=half // 2),
        "/2.ts": Answer(broadcast[half:]),
    }
    with StreamSource(f"{web.url}/film.m3u8", SystemClock()) as source:
        assert not source.live
    frames = read_all(f"{web.url}/film.m3u8")
    assert [frame.pts_s for frame in frames] == pytest.approx([number / 25 for number in range(len(TIMES))])


def test_a_stream_without_a_length_is_live(web: WebServer, broadcast: bytes) -> None:
    web.answers["/live.ts"] = Answer(broadcast, sized=False)
    with StreamSource(f"{web.url}/live.ts", SystemClock()) as source:
        assert (source.live, source.frame_count) == (True, None)
        first, second = source.read(), source.read()
        assert first and second and first.captured_s <= second.captured_s
        assert second.pts_s == pytest.approx(second.captured_s - first.captured_s)
        with pytest.raises(SourceError, match="connection lost"):
            list(iter(source.read, None))


def test_a_stream_of_images_without_headers(web: WebServer) -> None:
    images = b"".join(map(moving, range(6)))
    web.answers |= {
        "/bare": Answer(images, sized=False, fields={"Content-Type": "video/x-motion-jpeg"}),
        "/parts": Answer(images, fields={"Content-Type": "multipart/x-mixed-replace; boundary=no"}),
    }
    for path in web.answers:
        with StreamSource(web.url + path, SystemClock()) as source:
            assert source.live
            levels = [round((float(frame.bgr.mean()) - 40) / 5) for frame in map(source_read, [source] * 6)]
        assert levels == list(range(6))


def source_read(source: StreamSource) -> Frame:
    frame = source.read()
    assert frame is not None
    return frame


def test_frames_of_a_live_playlist_are_shown_at_their_times() -> None:
    clock = ManualClock(50.0)
    pacer, shown = Pacer(clock), []
    for pts_s, arrives_s in [(0.0, 50), (0.1, 50), (0.2, 50), (0.3, 53), (0.4, 53), (9999.0, 54), (0.0, 54)]:
        clock.sleep(max(0.0, arrives_s - clock.monotonic()))
        pacer.wait(pts_s)
        shown.append(round(clock.monotonic() - 50.0, 3))
    assert shown == [0.0, 0.1, 0.2, 3.0, 3.1, 4.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(status=401), "login failed (status 401): add credentials to the URL"),
        (Answer(status=403), "access denied (status 403)"),
        (Answer(status=404), "nothing found there (status 404): check the path"),
        (Answer(status=503), "the server is busy (status 503)"),
        (Answer(status=500), "the server responded with status 500"),
        (Answer(b"<!DOCTYPE html><title>Login", fields={"Content-Type": "video/mp4"}), "received a web page"),
        (Answer(b"{}", fields={"Content-Type": "application/json"}), "received text (application/json)"),
        (Answer(bytes(9000), fields={"Content-Type": "a/b"}), "the content (a/b) is not a supported video"),
        (Answer(b""), "not a supported video"),
    ],
)  # fmt: skip
def test_what_a_web_server_sends_instead_is_named(web: WebServer, answer: Answer, why: str) -> None:
    web.answers["/video"] = answer
    assert why in refused(f"{web.url}/video")


def test_wrong_credentials_are_told_from_missing_ones(web: WebServer) -> None:
    web.answers["/video"] = Answer(status=401, fields={"WWW-Authenticate": 'Basic realm="x"'})
    message = refused(f"{web.url}/video".replace("//", "//a:hunter2@"))
    assert "login failed (status 401): check the user name and password" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_is_not_there_is_named(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "connection refused: nothing listens on this port" in refused(f"{scheme}://127.0.0.1:{port}/x")
    assert "host name cannot be resolved" in refused(f"{scheme}://no-such-host.invalid/x")


def test_servers_that_speak_another_protocol_are_named(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_source, "OPEN_S", 0.4)
    assert "should start with http://" in refused(f"rtsp://127.0.0.1:{web.port}/x")
    assert "TLS handshake failed" in refused(f"https://127.0.0.1:{web.port}/x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "timed out" in refused(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        assert "timed out" in refused(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x")
    web.answers["/video"] = motion_jpeg()
    with TlsFront(own_certificate(tmp_path / "pair.pem"), web.port) as front:
        assert "no video received" in refused(front.url("http"))


@pytest.mark.parametrize(
    ("status", "method", "why"),
    [
        ("404 Not Found", "DESCRIBE", "nothing found there (status 404)"),
        ("403 Forbidden", "DESCRIBE", "access denied (status 403)"),
        ("461 Unsupported Transport", "SETUP", "enable RTP over RTSP"),
        ("454 Session Not Found", "PLAY", "ended the session (status 454)"),
    ],
)
def test_what_an_rtsp_camera_refuses_is_named(status: str, method: str, why: str) -> None:
    with HostileRtspServer() as camera:
        camera.status, camera.status_at = status, method
        assert why in refused(camera.url)


def refused(url: str) -> str:
    with pytest.raises(SourceError) as caught:
        StreamSource(url, SystemClock())
    assert "\n" not in str(caught.value)
    return str(caught.value)

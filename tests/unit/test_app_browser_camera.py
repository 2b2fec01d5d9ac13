"""The browser's camera as a source: newest image, hostile images, its end from either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("websockets", reason="needs the app extra")

from edgeharfer.app.browser_camera import MAX_BAD_IMAGES, NEXT, BrowserCamera, receive_images
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SourceError

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
BOMB = JPEG.replace(b"\x00\x30\x00\x40", b"\xff\xff\xff\xff")
"""A header of 65535 x 65535 pixels."""


def with_camera(use: Callable[[BrowserCamera], Awaitable[None]]) -> None:
    async def run() -> None:
        with BrowserCamera(SystemClock()) as camera:
            await use(camera)

    asyncio.run(run())


class FakeSocket:
    """A page that sends these images, one for each "next", and then leaves."""

    def __init__(self, *images: bytes) -> None:
        self.images, self.told = list(images), 0

    async def send(self, text: str) -> None:
        assert text == NEXT
        self.told += 1

    async def messages(self) -> AsyncIterator[bytes]:
        for image in self.images:
            yield image


def test_an_image_becomes_a_frame_and_is_asked_for_one_at_a_time() -> None:
    async def use(camera: BrowserCamera) -> None:
        page = FakeSocket(JPEG, JPEG)
        sending = asyncio.create_task(receive_images(page, camera))  # type: ignore[arg-type]
        first = await asyncio.to_thread(camera.read_within, 10.0)
        second = await asyncio.to_thread(camera.read_within, 10.0)
        await sending
        assert first is not None and second is not None
        assert first.size == (64, 48) and [first.seq, second.seq] == [0, 1]
        assert second.pts_s >= first.pts_s == 0.0 and page.told == 3
        assert await asyncio.to_thread(camera.read_within, 10.0) is None and camera.ended

    with_camera(use)


def test_an_image_that_is_not_taken_holds_the_page_up() -> None:
    async def use(camera: BrowserCamera) -> None:
        page = FakeSocket(JPEG, JPEG)
        sending = asyncio.create_task(receive_images(page, camera))  # type: ignore[arg-type]
        for _ in range(20):
            await asyncio.sleep(0)
        assert page.told == 1 and not sending.done()
        await asyncio.to_thread(camera.close)  # the run was stopped
        await sending

    with_camera(use)


def test_a_page_that_sends_nothing_is_let_go_when_the_run_is_stopped() -> None:
    class SilentSocket(FakeSocket):
        async def messages(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    async def use(camera: BrowserCamera) -> None:
        receiving = asyncio.create_task(receive_images(SilentSocket(), camera))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        camera.close()
        await receiving

    with_camera(use)


@pytest.mark.parametrize("image", [b"", b"text", PNG, JPEG[:200], BOMB])
def test_what_is_no_small_jpeg_is_counted_and_given_up_in_the_end(image: bytes) -> None:
    assert BOMB != JPEG

    async def use(camera: BrowserCamera) -> None:
        for number in range(MAX_BAD_IMAGES):
            sending = asyncio.create_task(camera.offer(image))
            reading = asyncio.to_thread(camera.read_within, 10.0)
            if number < MAX_BAD_IMAGES - 1:
                assert await reading is None
            else:
                with pytest.raises(SourceError, match="the images cannot be read"):
                    await reading
            assert await sending
        assert camera.bad_pictures == MAX_BAD_IMAGES and camera.ended

    with_camera(use)


def test_a_closed_camera_takes_nothing() -> None:
    async def use(camera: BrowserCamera) -> None:
        camera.close()
        assert await camera.offer(JPEG) is False

    with_camera(use)

"""The camera of a browser as a source: JPEG images that its page sends over a WebSocket, one at a time.

The page sends an image for each "next" that it receives, and the app sends "next" once the last image has
been taken. So there is never a queue of old images, however slow the connection or this machine is. The
images stay in memory.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.source.decode import size_from_header
from edgeharfer.runtime.source.jpeg import START, JpegDecoder

if TYPE_CHECKING:
    from edgeharfer.app.websocket import WebSocket
    from edgeharfer.runtime.types import Frame

NAME = "browser camera"
NEXT = "next"
"""Message to the page after an image has been taken."""
MAX_IMAGE_BYTES = 1 << 20
MAX_PIXELS = 1920 * 1080
MAX_FPS = 30.0
MAX_BAD_IMAGES = 30
"""Unreadable images in a row after which the source is given up."""


class BrowserCamera(BaseSource):
    """The images of one connection. `offer` and `end` are called in the event loop, the others in threads.

    Attributes:
        closed: Set once the source was closed.

    Args:
        clock: The clock of the frames.
    """

    live = restartable = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(NAME, clock)
        self._loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        self._taken = asyncio.Event()
        self._decoder = JpegDecoder()
        self._changed = threading.Condition()
        self._image: bytes | None = None
        self._gone = self._released = False
        self._seq = self._bad_in_a_row = 0

    async def offer(self, image: bytes) -> bool:
        """Hand over an image, and wait until it was taken.

        Returns:
            False if the source was closed, so that no image will be taken any more.
        """
        self._taken.clear()
        with self._changed:
            if self._released:
                return False
            self._image = image
            self._changed.notify()
        await self._taken.wait()
        return not self._released

    def end(self) -> None:
        """End the source: the page has gone."""
        with self._changed:
            self._gone = True
            self._changed.notify()

    def read_within(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None after a timeout and at the end.

        Raises:
            SourceError: Too many images could not be decoded.
        """
        image = self._take(timeout_s)
        with self._lock:
            if image is None or self._closed:
                return None
            return self._decode(image)

    def _next(self) -> Frame | None:
        raise SourceError(f"{self.name}: is read with a timeout")

    def reconnect(self) -> None:
        """Wait for further images: only the page can connect again."""

    def _take(self, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._gone, timeout_s)
            image, self._image = self._image, None
            self.ended = self._gone and image is None
        if image is not None:
            self._set(self._taken)
        return image

    def _decode(self, image: bytes) -> Frame | None:
        try:
            width, height = (size_from_header(image) if image.startswith(START) else None) or (0, 0)
            if not 0 < width * height <= MAX_PIXELS:
                raise SourceError(f"{self.name}: not a JPEG image, or too large")
            picture = self._decoder.decode(image, self.name)
        except SourceError as error:
            self.bad_pictures += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= MAX_BAD_IMAGES:
                self.ended = True
                raise SourceError(f"{self.name}: the images cannot be read") from error
            return None
        self._bad_in_a_row = 0
        self._seq += 1
        return self._frame(self._seq - 1, None, picture)

    def _release(self) -> None:
        with self._changed:
            self._released, self._image = True, None
        self._set(self._taken)
        self._set(self.closed)

    def _set(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the app has ended, and its event loop with it
            self._loop.call_soon_threadsafe(event.set)


async def receive_images(socket: WebSocket, camera: BrowserCamera) -> None:
    """Pass the images of a page on until it leaves or the source is closed.

    Args:
        socket: The connection to the page.
        camera: The source that takes the images.
    """
    passing = asyncio.create_task(_pass_on(socket, camera))
    closed = asyncio.create_task(camera.closed.wait())
    try:
        await asyncio.wait({passing, closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        camera.end()
        passing.cancel()
        closed.cancel()
        await asyncio.wait({passing, closed})
    if not passing.cancelled():
        passing.result()


async def _pass_on(socket: WebSocket, camera: BrowserCamera) -> None:
    loop = asyncio.get_running_loop()
    await socket.send(NEXT)
    async for image in socket.messages():
        due_s = loop.time() + 1 / MAX_FPS
        if not await camera.offer(image):
            return
        await asyncio.sleep(due_s - loop.time())
        await socket.send(NEXT)

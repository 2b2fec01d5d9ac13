"""A window with the annotated picture (`--view window`)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.display import display_connection, window_unavailable_reason
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image

if TYPE_CHECKING:
    from typing_extensions import Self

ESCAPE = 27
QUIT_KEYS = {ord("q"), ord("Q"), ESCAPE}
FULLSCREEN_KEYS = {ord("f"), ord("F")}
NO_KEY = -1
# X11/keysymdef.h: Shift, Control, Alt and others, which are also pressed to switch windows.
MODIFIERS = {0xFE03, 0xFF14, 0xFF7F, *range(0xFFE1, 0xFFEF)}
MIN_HEIGHT = 480  # smaller images are enlarged before drawing, so that their text is sharp
INITIAL_SIZE = (1280, 720)  # largest size at which a window opens


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create a window."""
    return WindowSink(fullscreen=options.fullscreen)


class WindowSink(Sink):
    """Shows each frame with its overlay. q, Esc and the close button close it, f toggles full screen.

    Use it from the main thread, as GUI toolkits require.
    """

    def __init__(self, title: str = "edgeharfer", *, fullscreen: bool = False) -> None:
        self._title = title
        self._fullscreen = fullscreen
        self._open = self._sized = self._shown = False
        self._last: tuple[Frame, Result] | None = None
        self._image: Image | None = None  # as shown last, and the window size then
        self._shown_in = (0, 0)
        self.closed = False

    def __enter__(self) -> Self:
        with display_connection():
            reason = window_unavailable_reason()
            if reason is not None:
                raise ProviderError(f"cannot open a window: {reason}")
            _prepare_qt()
            self._create()
        return self

    def _create(self) -> None:
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise ProviderError(f"cannot open a window: {error.err}; use --view web or none") from error
        self._open = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            with contextlib.suppress(cv2.error):  # already destroyed by its close button
                cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # lets the toolkit process it

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._last = frame, result
        self._show(status)

    def refresh(self, status: Status) -> None:
        """Redraw the last frame with a new status and process window events."""
        self._show(status)

    def poll(self) -> bool:
        """Process window events while an image is held; return whether an unassigned key was pressed."""
        if self.closed or not self._open:
            return False
        if self._image is not None and self._window_size() != self._shown_in:
            self._draw(self._image)
        return self._handle_key()

    def _show(self, status: Status) -> None:
        if self.closed or not self._open:
            return
        if self._last is not None:
            self._image = annotate(*self._last, status, min_height=MIN_HEIGHT)
            self._draw(self._image)
        self._handle_key()

    def _draw(self, image: Image) -> None:
        self._shown_in = self._window_size()
        cv2.imshow(self._title, pad_to_ratio(image, *self._shown_in))
        if not self._sized:
            self._set_size(image.shape[1], image.shape[0])

    def _handle_key(self) -> bool:
        """Handle one key; return whether an unassigned key was pressed."""
        code = cv2.waitKeyEx(1)
        key = code & 0xFF
        visible = self._visible()
        # On a busy machine the window may not be visible yet.
        gone = self._shown and not visible
        self._shown = self._shown or visible
        if gone or key in QUIT_KEYS:
            self.closed = True
        elif key in FULLSCREEN_KEYS:
            self._set_fullscreen(not self._fullscreen)
        else:
            return code != NO_KEY and (code & 0xFFFF) not in MODIFIERS
        return False

    def _window_size(self) -> tuple[int, int]:
        """Return (width, height) of the image area, which black borders fill."""
        if not self._sized:
            return 0, 0
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return width, height

    def _visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt is gone once its last window is closed
            return False

    def _set_size(self, width: int, height: int) -> None:
        self._sized = True
        scale = min(1.0, INITIAL_SIZE[0] / width, INITIAL_SIZE[1] / height)
        cv2.resizeWindow(self._title, max(1, round(width * scale)), max(1, round(height * scale)))
        if self._fullscreen:
            self._set_fullscreen(True)

    def _set_fullscreen(self, wanted: bool) -> None:
        mode = cv2.WINDOW_FULLSCREEN if wanted else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)
        self._fullscreen = wanted


def pad_to_ratio(image: Image, width: int, height: int) -> Image:
    """Add black borders until the image has the aspect ratio of `width` x `height`."""
    if width <= 0 or height <= 0:
        return image
    rows, columns = image.shape[:2]
    across = max(0, round(rows * width / height) - columns)
    down = max(0, round(columns * height / width) - rows)
    if max(across, down) <= 2:  # not visible
        return image
    left, top = across // 2, down // 2
    framed = cv2.copyMakeBorder(image, top, down - top, left, across - left, cv2.BORDER_CONSTANT)
    return np.asarray(framed, np.uint8)


def _prepare_qt() -> None:
    """Set the environment of the Qt in OpenCV's wheels, which is read when the first window opens."""
    plugins = Path(cv2.__file__).parent / "qt" / "plugins"
    if not sys.platform.startswith("linux") or not plugins.is_dir():
        return
    # The wheels have only the X11 plugin; a desktop that selects another one would abort the process.
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    _match_xlib()
    # The wheels set a font folder that does not exist, and Qt warns about it for each window.
    if not Path(os.environ.get("QT_QPA_FONTDIR", "")).is_dir():
        os.environ["QT_QPA_FONTDIR"] = str(plugins)


def _match_xlib() -> None:
    """Load the system's libX11-xcb, so that Qt's plugin uses it.

    OpenCV's wheels bring their own libX11-xcb but use the system's libX11. If the versions differ, Qt's
    XSetEventQueueOwner writes to the wrong field; Xlib then keeps its own event queue and takes events that
    Qt waits for. On a busy machine a window that loses its first events this way is never painted.
    """
    with contextlib.suppress(OSError):  # not installed: use that of the wheel
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)

"""The full-screen window of `screen.view = "window"`: the layout, a hidden pointer, a touch that confirms."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import cv2

from edgeharfer.kiosk.desk import Desk
from edgeharfer.kiosk.layout import compose
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.sinks.window import WindowSink
from edgeharfer.runtime.stats import Status

TITLE = "edgeharfer kiosk"
INTERVAL_S = 0.1
FIRST_SIZE = 1280, 720


class KioskWindow(WindowSink):
    """Shows the desk's scene over the whole screen. For the main thread, as every window."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        super().__init__(TITLE, fullscreen=True)
        self._desk, self._clock = desk, clock
        self._due_s = clock.monotonic()
        self._display: Display | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        cv2.setMouseCallback(TITLE, self._touched)
        self._display = Display()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.close()
        super().__exit__(kind, error, trace)

    def turn(self) -> None:
        """Show what is new, at most ten times a second; touches are taken in as well."""
        now_s = self._clock.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + INTERVAL_S
            self._show(Status())

    def _show(self, status: Status) -> None:
        if not self._open:
            return
        now_s = self._clock.monotonic()
        cv2.imshow(TITLE, compose(self._desk.state(), self._desk.image(), self._screen_size(), now_s))
        if not self._sized:
            self._cover()
        cv2.waitKey(1)  # a kiosk has no keyboard: no key ends it

    def _cover(self) -> None:
        """Over the whole screen, also where no window manager sees to it."""
        self._sized = True
        cv2.moveWindow(TITLE, 0, 0)
        cv2.resizeWindow(TITLE, *self._screen_size())
        self._set_fullscreen(True)

    def _screen_size(self) -> tuple[int, int]:
        """Of the X server's screen, else of the window as the desktop made it."""
        if self._display is not None and self._display.size is not None:
            return self._display.size
        _, _, width, height = cv2.getWindowImageRect(TITLE) if self._sized else (0, 0, 0, 0)
        return (width, height) if width > 0 and height > 0 else FIRST_SIZE

    def _touched(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        if event == cv2.EVENT_LBUTTONUP and self._desk.state()["notice"]:
            self._desk.confirm()


class Display:
    """The X server's screen by Xlib: its size, and its pointer hidden until closed (XFixes).

    Where the libraries are not there, the size is unknown and the pointer stays visible.
    """

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self._display: ctypes.c_void_p | None = None
        try:
            self._x11, self._fixes = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXfixes.so.3")
        except OSError:
            return
        self._x11.XOpenDisplay.restype = ctypes.c_void_p
        self._x11.XDefaultRootWindow.restype = ctypes.c_ulong
        if opened := self._x11.XOpenDisplay(None):
            self._display = ctypes.c_void_p(opened)
            self.size = (
                int(self._x11.XDisplayWidth(self._display, 0)),
                int(self._x11.XDisplayHeight(self._display, 0)),
            )
            self._call(self._fixes.XFixesHideCursor, self._display)

    def close(self) -> None:
        if self._display is not None:
            self._call(self._fixes.XFixesShowCursor, self._display)
            self._x11.XCloseDisplay(self._display)
            self._display = None

    def _call(self, function: Callable[..., Any], display: ctypes.c_void_p) -> None:
        function(display, ctypes.c_ulong(self._x11.XDefaultRootWindow(display)))
        self._x11.XFlush(display)

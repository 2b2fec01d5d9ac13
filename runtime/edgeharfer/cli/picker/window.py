"""The source menu in a Tk window, which shows the drawn image and handles keys and the pointer."""

from __future__ import annotations

import contextlib
import tkinter
from collections.abc import Callable
from tkinter import filedialog, ttk
from types import TracebackType

import cv2

from edgeharfer.cli.picker.menu import TITLE as MENU_TITLE
from edgeharfer.cli.picker.menu import Menu
from edgeharfer.cli.picker.preview import PreviewFrame
from edgeharfer.cli.picker.screen import BACKGROUND, PickerImage, compose
from edgeharfer.runtime.errors import ProviderError
from edgeharfer.runtime.sinks.display import display_connection
from edgeharfer.runtime.source.images import IMAGE_SUFFIXES
from edgeharfer.runtime.source.video import VIDEO_SUFFIXES

TITLE = "edgeharfer"
INITIAL_SIZE, MIN_SIZE = (960, 576), (480, 300)
INTERVAL_MS = 40
_MOVES = {"Up": -1, "k": -1, "Down": 1, "j": 1, "Home": -999, "End": 999, "Prior": -4, "Next": 4}


def ask(menu: Menu, stopping: Callable[[], bool], *, fullscreen: bool = False) -> str | None:
    """Show the menu and return the chosen source, or None if the user quit or `stopping` returned True.

    Call it from the main thread.

    Raises:
        ProviderError: The display refuses to open a window.
    """
    with display_connection():
        try:
            root = tkinter.Tk(className=TITLE)
        except tkinter.TclError as error:
            raise ProviderError(f"cannot open a window: {error}; use --source or --camera") from error
        window = PickWindow(root, menu, stopping, fullscreen=fullscreen)
    try:
        return window.run()
    finally:
        window.close()


class PickWindow:
    """Draws the menu and redraws it when something has changed."""

    def __init__(
        self, root: tkinter.Tk, menu: Menu, stopping: Callable[[], bool], *, fullscreen: bool
    ) -> None:
        self._root, self._menu, self._stopping = root, menu, stopping
        self._fullscreen = fullscreen
        self._photo = tkinter.PhotoImage(master=root)
        self._label = tkinter.Label(root, image=self._photo, borderwidth=0, background=_hex(BACKGROUND))
        self._label.pack(fill="both", expand=True)
        self._page: PickerImage | None = None
        self._drawn: tuple[object, ...] = ()
        self._chosen: str | None = None
        self._error: BaseException | None = None
        self._asking = False
        self._prepare()

    def run(self) -> str | None:
        """Show the window until the user chooses or quits. Raises errors of Tk callbacks."""
        self._update()
        self._root.mainloop()
        if self._error is not None:
            raise self._error
        return self._chosen

    def close(self) -> None:
        """Close the window and break reference cycles: Tk aborts if another thread collects them."""
        self._root.destroy()
        del self._root.report_callback_exception  # refers back to this object

    def _prepare(self) -> None:
        root = self._root
        root.title(f"{TITLE}: {MENU_TITLE}")
        root.configure(background=_hex(BACKGROUND))
        width, height = (min(pair) for pair in zip(INITIAL_SIZE, self._screen(), strict=True))
        left, top = ((whole - part) // 2 for whole, part in zip(self._screen(), (width, height), strict=True))
        root.geometry(f"{width}x{height}+{left}+{top}")
        root.minsize(*MIN_SIZE)
        root.attributes("-fullscreen", self._fullscreen)
        root.protocol("WM_DELETE_WINDOW", root.quit)
        root.report_callback_exception = self._fail
        root.bind("<Key>", self._key)
        root.bind("<MouseWheel>", lambda event: self._menu.move(-1 if event.delta > 0 else 1))
        root.bind("<Button-4>", lambda _: self._menu.move(-1))  # mouse wheel on X11
        root.bind("<Button-5>", lambda _: self._menu.move(1))
        root.bind("<Button-1>", lambda event: self._click(event.x, event.y))
        root.bind("<Double-Button-1>", lambda event: self._click(event.x, event.y, double=True))
        root.focus_force()
        _style_file_dialog(root)

    def _screen(self) -> tuple[int, int]:
        return self._root.winfo_screenwidth(), self._root.winfo_screenheight()

    def _fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Keep the error of a callback for `run`; Tk would only print it."""
        self._error = error
        self._root.quit()

    def _update(self) -> None:
        if self._stopping():
            self._root.quit()
            return
        try:
            self._draw(self._menu.preview)
        finally:
            self._root.after(INTERVAL_MS, self._update)

    def _draw(self, preview: PreviewFrame) -> None:
        size = self._label.winfo_width(), self._label.winfo_height()
        state = (preview, self._menu.choices, self._menu.index, size)
        if min(size) <= 1 or state == self._drawn:
            return
        self._drawn = state
        self._page = compose(self._menu.choices, self._menu.index, self._menu.summary, preview, size)
        self._photo.configure(data=cv2.imencode(".ppm", self._page.image)[1].tobytes(), format="PPM")

    def _key(self, event: tkinter.Event[tkinter.Misc]) -> None:
        key = event.keysym
        if key in ("Escape", "q", "Q"):
            self._root.quit()
        elif key in ("Return", "KP_Enter", "space"):
            self._start()
        elif key in _MOVES:
            self._menu.move(_MOVES[key])
        elif key in ("o", "O"):
            self._open_file()
        elif key in ("r", "R", "F5"):
            self._menu.refresh_cameras()
        elif key in ("f", "F", "F11"):
            self._fullscreen = not self._fullscreen
            self._root.attributes("-fullscreen", self._fullscreen)

    def _click(self, x: int, y: int, *, double: bool = False) -> None:
        if self._page is None:
            return
        if _contains(self._page.start, x, y):
            self._start()
        for number, place in self._page.choices.items():
            if _contains(place, x, y):
                self._menu.select(number)
                if double:
                    self._start()

    def _start(self) -> None:
        if not self._menu.selected.source:
            self._open_file()
            return
        self._chosen = self._menu.selected.source
        self._root.quit()

    def _open_file(self) -> None:
        if self._asking:  # Tk's own dialog passes keys on while it is open
            return
        self._asking = True
        suffixes = sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES)
        known = (*suffixes, *(suffix.upper() for suffix in suffixes))  # cameras write .MP4 and .JPG
        try:
            path = filedialog.askopenfilename(
                parent=self._root,
                title="Open a video or an image",
                filetypes=[("Videos and images", known), ("All files", "*")],
            )
        finally:
            self._asking = False
        if path:
            self._menu.add_file(path)


def _style_file_dialog(root: tkinter.Tk) -> None:
    """Give Tk's own file dialog, used on X11, a modern theme and hide hidden files."""
    if root.tk.call("tk", "windowingsystem") != "x11":
        return
    ttk.Style(root).theme_use("clam")
    with contextlib.suppress(tkinter.TclError):  # an invalid call loads the dialog and its settings
        root.tk.call("tk_getOpenFile", "-nonsense")
    root.setvar("::tk::dialog::file::showHiddenVar", "0")


def _contains(place: tuple[int, int, int, int], x: int, y: int) -> bool:
    left, top, width, height = place
    return left <= x < left + width and top <= y < top + height


def _hex(color: tuple[int, int, int]) -> str:
    blue, green, red = color
    return f"#{red:02x}{green:02x}{blue:02x}"

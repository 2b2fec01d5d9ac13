"""The source menu: choices, selection and preview, shared by window and terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.cli.picker.preview import Opener, Preview, PreviewFrame, PreviewState
from edgeharfer.runtime.overlay.style import printable
from edgeharfer.runtime.source import named_sources
from edgeharfer.runtime.source.cameras import Camera

TITLE = "Choose a source"

Find = Callable[[], list[Camera]]


@dataclass(frozen=True, slots=True)
class MenuItem:
    """A choice in the menu.

    Attributes:
        source: Specification for `open_source`; "" for a file that is still to be named.
        title: First line.
        detail: Second line.
    """

    source: str
    title: str
    detail: str


FILE = MenuItem("", "A file…", "a video or an image")
_NO_FILE = PreviewFrame(PreviewState.WAITING, "Press Enter to open a video or an image.")


class Menu:
    """The choices, one of them selected and previewed.

    Close the menu before opening the chosen source, since a camera can be opened only once.

    Attributes:
        choices: Cameras, files, built-in sources, and FILE.
        cameras: Number of cameras.
        index: Index of the selected choice.
    """

    def __init__(self, find: Find, opener: Opener) -> None:
        self._find, self._opener = find, opener
        self._files: list[MenuItem] = []
        self._preview: Preview | None = None
        self.cameras = 0
        self.choices: tuple[MenuItem, ...] = ()
        self.index = 0
        self.refresh_cameras()

    @property
    def selected(self) -> MenuItem:
        """The selected choice."""
        return self.choices[self.index]

    @property
    def summary(self) -> str:
        """Number of cameras, as text."""
        if not self.cameras:
            return "No camera found: plug one in and press R"
        return f"{self.cameras} camera{'s' if self.cameras > 1 else ''} found"

    @property
    def preview(self) -> PreviewFrame:
        """Current preview of the selected source."""
        if self._preview is None or not self.selected.source:
            return _NO_FILE
        return self._preview.frame

    def refresh_cameras(self) -> None:
        """Find the connected cameras and select a new one, if any."""
        known = {choice.source for choice in self.choices}
        cameras = [
            MenuItem(camera.path, printable(camera.name), _camera_detail(camera)) for camera in self._find()
        ]
        self._set_choices(cameras, next((one.source for one in cameras if one.source not in known), None))

    def add_file(self, path: str) -> None:
        """Add a file to the choices and select it; the preview shows whether it can be read."""
        absolute = Path(path).expanduser().absolute()
        choice = MenuItem(str(absolute), printable(absolute.name), printable(str(absolute.parent)))
        if choice not in self._files:
            self._files.append(choice)
        self._set_choices([*self.choices[: self.cameras]], choice.source)

    def move(self, by: int) -> None:
        """Move the selection by a number of choices, without wrapping around."""
        self.select(min(max(0, self.index + by), len(self.choices) - 1))

    def select(self, index: int) -> None:
        """Select a choice and start its preview."""
        previous, self.index = self.selected, index
        if self.selected != previous:
            self._start_preview()

    def close(self) -> None:
        """Stop the preview and release its source."""
        if self._preview is not None:
            self._preview.close()

    def _set_choices(self, cameras: list[MenuItem], select: str | None) -> None:
        previous = self.selected if self.choices else None
        self.cameras = len(cameras)
        named = [MenuItem(spec, kind.title, kind.detail) for spec, kind in named_sources().items()]
        self.choices = (*cameras, *self._files, *named, FILE)
        if select is None and previous is not None:
            select = previous.source
        self.index = next((i for i, choice in enumerate(self.choices) if choice.source == select), 0)
        if self.selected != previous:
            self._start_preview()

    def _start_preview(self) -> None:
        """Stop the running preview and start the next one, which waits until that has released its source."""
        if self._preview is not None:
            self._preview.stop()
        if self.selected.source:
            self._preview = Preview(self.selected.source, self._opener, self._preview)


def _camera_detail(camera: Camera) -> str:
    """Device path or number, which distinguishes cameras of the same name."""
    return f"/dev/video{camera.index}" if camera.path.startswith("/") else f"number {camera.index}"

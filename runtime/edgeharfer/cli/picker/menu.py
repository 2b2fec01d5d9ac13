"""What can be picked, what is selected, and how that looks: the part that window and terminal share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.cli.picker.preview import Opener, Preview, PreviewFrame, PreviewState
from edgeharfer.runtime.overlay.style import printable
from edgeharfer.runtime.source import named_sources
from edgeharfer.runtime.source.cameras import Camera

QUESTION = "What shall be watched?"

Find = Callable[[], list[Camera]]


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One line of the menu. source: what `open_source` takes; "" for a file that is yet to be named."""

    source: str
    title: str
    detail: str


FILE = MenuItem("", "A file…", "a video or a picture")
_NO_FILE = PreviewFrame(PreviewState.WAITING, "Press Enter to name a video or a picture.")


class Menu:
    """The choices, one of them selected and previewed. Close it before the chosen source is opened."""

    def __init__(self, find: Find, opener: Opener) -> None:
        self._find, self._opener = find, opener
        self._files: list[MenuItem] = []
        self._preview: Preview | None = None
        self.cameras = 0
        self.choices: tuple[MenuItem, ...] = ()
        self.at = 0
        self.look_again()

    @property
    def selected(self) -> MenuItem:
        return self.choices[self.at]

    @property
    def summary(self) -> str:
        """How many cameras there are, in words."""
        if not self.cameras:
            return "No camera found: plug one in and press R"
        return f"{self.cameras} camera{'s' if self.cameras > 1 else ''} found"

    @property
    def glance(self) -> PreviewFrame:
        """How the selected source looks now."""
        if self._preview is None or not self.selected.source:
            return _NO_FILE
        return self._preview.glance

    def look_again(self) -> None:
        """Find the cameras that there are now; one that is new is selected."""
        known = {choice.source for choice in self.choices}
        cameras = [MenuItem(camera.path, printable(camera.name), _place(camera)) for camera in self._find()]
        self._list(cameras, next((one.source for one in cameras if one.source not in known), None))

    def add_file(self, path: str) -> None:
        """Put a file among the choices and select it; its preview tells whether it can be read."""
        absolute = Path(path).expanduser().absolute()
        choice = MenuItem(str(absolute), printable(absolute.name), printable(str(absolute.parent)))
        if choice not in self._files:
            self._files.append(choice)
        self._list([*self.choices[: self.cameras]], choice.source)

    def move(self, by: int) -> None:
        """Up or down; the ends are ends."""
        self.select(min(max(0, self.at + by), len(self.choices) - 1))

    def select(self, at: int) -> None:
        """Select by place and begin to preview."""
        before, self.at = self.selected, at
        if self.selected != before:
            self._show()

    def close(self) -> None:
        """Let go of what is previewed."""
        if self._preview is not None:
            self._preview.close()

    def _list(self, cameras: list[MenuItem], wanted: str | None) -> None:
        before = self.selected if self.choices else None
        self.cameras = len(cameras)
        named = [MenuItem(spec, kind.title, kind.detail) for spec, kind in named_sources().items()]
        self.choices = (*cameras, *self._files, *named, FILE)
        if wanted is None and before is not None:
            wanted = before.source
        self.at = next((at for at, choice in enumerate(self.choices) if choice.source == wanted), 0)
        if self.selected != before:
            self._show()

    def _show(self) -> None:
        """Previews follow each other in a chain: the newest one waits until the ones before have let go."""
        if self._preview is not None:
            self._preview.stop()
        if self.selected.source:
            self._preview = Preview(self.selected.source, self._opener, self._preview)


def _place(camera: Camera) -> str:
    """What tells two cameras of one name apart: the number, and the device behind it where it has one."""
    return f"/dev/video{camera.index}" if camera.path.startswith("/") else f"number {camera.index}"

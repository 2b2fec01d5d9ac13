"""A real Chromium, driven over its own pipe (the DevTools protocol, without a web socket library)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from system_parts import find_program

if TYPE_CHECKING:
    from typing_extensions import Self

CHROMIUM = find_program("chromium", "chromium-browser")
PATIENCE_S = 60.0


class Browser:
    """Headless, with a profile of its own. camera: a .y4m or .mjpeg that plays the part of its camera."""

    def __init__(self, profile: Path, camera: Path | None = None, downloads: Path | None = None) -> None:
        self._profile, self._camera, self._downloads = profile, camera, downloads
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        words = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking", "--mute-audio",
            "--hide-scrollbars", "--font-render-hinting=none", f"--user-data-dir={self._profile}",
        ]  # fmt: skip
        if self._camera is not None:
            words += [
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={self._camera}",
            ]

        def place() -> None:  # Chromium reads from 3 and writes to 4
            first, second = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out))
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            [*words, "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        if self._downloads is not None:
            where = {"behavior": "allow", "downloadPath": str(self._downloads), "eventsEnabled": True}
            self.call("Browser.setDownloadBehavior", where)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._in)

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str = "") -> Any:
        """One command and its result. Raises RuntimeError where Chromium refuses."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        due_s = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready = select.select([self._in], [], [], max(0.0, due_s - time.monotonic()))[0]
            piece = os.read(self._in, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("Chromium does not answer")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        answer = json.loads(message)
        assert isinstance(answer, dict)
        return answer

    def open(self, address: str, **look: Any) -> Page:
        """A page in a window of its own, so that it is visible whatever else is open."""
        target = self.call("Target.createTarget", {"url": "about:blank", "newWindow": True})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, target, session)
        page.look(**look)
        page.call("Page.enable")
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.call("Page.navigate", {"url": address})
        return page


class Page:
    """One window."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.target = target
        self._browser, self._session = browser, session
        self._forgiven: tuple[str, ...] = ()

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> Any:
        return self._browser.call(method, parameters, self._session)

    def look(self, width: int = 1280, height: int = 860, dark: bool = False, phone: bool = False) -> None:
        """Of what size, and with which wishes of its user."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str) -> Any:
        """The value of an expression in the page, a promise's once it is there."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script[:80]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        due_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < due_s:
            value = self._try(f"(() => {{ try {{ return {script}; }} catch {{ return null; }} }})()")
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says: {self.run('document.body.innerText')}")

    def _try(self, script: str) -> Any:
        try:
            return self.run(script)
        except RuntimeError as error:
            if "navigated" in str(error) or "context" in str(error):
                return None
            raise

    def text(self, element: str) -> str:
        """What an element of the page says."""
        return str(self.run(f"document.getElementById({json.dumps(element)}).textContent"))

    def click(self, element: str) -> None:
        self.run(f"document.getElementById({json.dumps(element)}).click()")

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", {**event, "text": text} if text else event)

    def choose(self, element: str, file: Path) -> None:
        """Choose a file in a file input, as a person would in the system's dialogue."""
        node = self.call("Runtime.evaluate", {"expression": f"document.getElementById('{element}')"})
        handle = {"files": [str(file)], "objectId": node["result"]["objectId"]}
        self.call("DOM.setFileInputFiles", handle)

    def picture(self, file: Path, full: bool = True) -> None:
        """What it looks like, as PNG."""
        shot = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": full})
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the window."""
        self._browser.call("Target.closeTarget", {"targetId": self.target})

    def forgive(self, *signs: str) -> None:
        """Errors that hold one of these are what the test is about."""
        self._forgiven = signs

    @property
    def complaints(self) -> list[str]:
        """Errors that the page, or the browser about it, has logged."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
        return [text for text in found if not any(sign in text for sign in self._forgiven)]

"""Chromium without a window, driven over its DevTools protocol on two pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ON_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads its commands from descriptor 3 and writes answers and events to 4."""
PATIENCE = 30.0
"""Seconds until something that a page should show is missing."""


class Page:
    """One tab."""

    def __init__(self, told: int, heard: int) -> None:
        self.told, self.heard, self.rest, self.number, self.session = told, heard, b"", 0, ""

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command."""
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        os.write(
            self.told,
            json.dumps({"id": self.number, "method": method, "params": parameters, **session}).encode() + b"\0",
        )
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.heard, 1 << 16) or b'{"id": -1, "error": "Chromium has ended"}\0'
            message, _, self.rest = self.rest.partition(b"\0")
            said = json.loads(message)
            assert "error" not in said, said
            if said.get("id") == self.number:
                return said["result"]

    def open(self, address: str) -> None:
        """Shows an address."""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def reload(self) -> None:
        """The same address anew."""
        self.value("window.old = true")
        self("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        said = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression}: {self.value('document.body.innerText')}"
            time.sleep(0.02)

    def middle(self, selector: str) -> dict[str, float]:
        """The middle of an element, after scrolling to it."""
        self.value(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        left, top, width, height = self.value(
            f"(r => [r.left, r.top, r.width, r.height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return {"x": left + width / 2, "y": top + height / 2}

    def click(self, selector: str) -> None:
        """A click with the mouse."""
        at = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def drop(self, selector: str, file: Path) -> None:
        """A file that is dragged from elsewhere, and dropped."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        at = self.middle(selector)
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, data=data, **at)

    def write(self, text: str) -> None:
        """Text where the focus is."""
        self("Input.insertText", text=text)

    def look(self, width: int, scheme: str = "light", height: int = 900) -> None:
        """A window of this width, and a light or dark page."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def photograph(self, file: Path) -> None:
        """A PNG of the whole page."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(address: str, home: Path) -> Iterator[Page]:
    """A tab that shows an address.

    Args:
        address: the page's.
        home: a folder for what the browser keeps.
    """
    (theirs, told), (heard, said) = _pipe(), _pipe()
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    start = [sys.executable, "-c", ON_PIPES, str(theirs), str(said), *command, f"--user-data-dir={home}"]
    running = subprocess.Popen(start, pass_fds=(theirs, said), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(theirs)
    os.close(said)
    try:
        page = Page(told, heard)
        page.open(address)
        yield page
    finally:
        running.terminate()
        running.wait(20)
        os.close(told)
        os.close(heard)


def _pipe() -> list[int]:
    """The ends of a pipe, above the descriptors that Chromium reads and writes."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high

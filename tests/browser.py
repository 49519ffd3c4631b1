"""A headless Chromium that a test drives: the DevTools protocol over two pipes, which needs no
driver, no port and no library.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium, chromium-browser, google-chrome or chrome in PATH"
)
_AS_3_AND_4 = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
_SECONDS = 120.0  # for one answer, on a busy machine
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--hide-scrollbars",
)


class Browser:
    """One page.

    `messages` are errors and warnings of its console, `addresses` all that it asked for.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._rest, self._number = commands, answers, b"", 0
        self.session = ""
        self.messages: list[str] = []
        self.addresses: list[str] = []
        self._events: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters} | (
            {"sessionId": self.session} if self.session else {}
        )
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, (method, said["error"])
                return said["result"]
            self._note(said)

    def open(self, path: pathlib.Path) -> None:
        """Loads a file and waits for it."""
        if not self.session:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.send(f"{domain}.enable")
        self._events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._note(self._read())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """The size of the window, and whether the system is in dark colours."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def key(self, name: str) -> None:
        """Presses a key by its DOM name, such as ArrowRight, Tab or Enter."""
        arrows = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40}
        codes = {"Enter": 13, "Tab": 9, "Home": 36, "End": 35, **arrows}
        known = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]} | (
            {"text": "\r"} if name == "Enter" else {}
        )
        self.send("Input.dispatchKeyEvent", type="keyDown", **known)
        self.send(
            "Input.dispatchKeyEvent",
            type="keyUp",
            **{key: value for key, value in known.items() if key != "text"},
        )

    def point(self, selector: str, click: bool = False) -> None:
        """Moves the pointer onto the first element of a selector; clicks if asked to."""
        place = self.run(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); "
            "node.scrollIntoView({block: 'center'});const box = node.getClientRects()[0]; "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            buttons = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **buttons)

    def screenshot(self, path: pathlib.Path) -> None:
        """What is seen of the page, as a PNG."""
        path.write_bytes(
            base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        )

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(end - time.monotonic(), 0))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            assert chunk, "the browser said nothing more"
            self._rest += chunk
        said, _, self._rest = self._rest.partition(b"\0")
        return json.loads(said)

    def _note(self, said: dict[str, Any]) -> None:
        method, found = said.get("method", ""), said.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.messages.append(str(found["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and found["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.messages.append(str(found["args"]))
        elif method == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.messages.append(found["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.addresses.append(found["request"]["url"])


@contextlib.contextmanager
def browser(profile: pathlib.Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended afterwards."""
    assert PROGRAM is not None
    (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
    # clear of the two numbers that the protocol wants
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    command = [
        sys.executable,
        "-c",
        _AS_3_AND_4,
        *map(str, ends),
        PROGRAM,
        *_FLAGS,
        f"--user-data-dir={profile}",
    ]
    with open(profile.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(command, pass_fds=ends, stdout=log, stderr=log)
    for end in (theirs_in, theirs_out, *ends):
        os.close(end)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        process.terminate()
        process.wait(timeout=_SECONDS)

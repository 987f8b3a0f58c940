"""Headless Chromium, driven over the pipe of its DevTools protocol: no package and no port is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 300.0  # for an answer; a safety net only
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """Where it is installed, None if it is not."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser with one tab. It collects what a page must not have: `faults` and `requests`."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self._out = os.pipe()
        self._in, ours = os.pipe()
        start = f'exec "$@" 3<&{theirs} 4>&{ours} 2>/dev/null'  # the protocol reads from 3 and writes to 4
        command = ["bash", "-c", start, "chromium", program, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(theirs, ours), stdout=subprocess.DEVNULL)
        os.close(theirs)
        os.close(ours)
        self._unread, self._last, self._session = b"", 0, ""
        self.faults: list[str] = []  # exceptions and errors of the page's script, and what its policy forbade
        self.requests: list[str] = []  # addresses that were asked for, the page's own among them
        self._loaded = False
        tabs = self.send("Target.getTargets")["targetInfos"]
        tab = next(t["targetId"] for t in tabs if t["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, TimeoutError, AssertionError):
            self._session = ""
            self.send("Browser.close")
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, method: str, **parameters: Any) -> Any:
        """Do something; its result. Raises AssertionError if the browser refuses."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                return answer["result"]
        raise AssertionError("unreachable")

    def open(self, page: Path, width: int = 1000, height: int = 800, dark: bool = False, script: bool = True) -> None:
        """Show a page in a window of that many pixels, as a phone would where it is narrow."""
        self.faults.clear()
        self.requests.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self._loaded = False
        self.send("Page.navigate", url=page.as_uri())
        if not self._loaded:
            for _ in self._messages():
                if self._loaded:
                    return

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression. Raises AssertionError if it throws."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release a key: a character, or Tab, Enter, Escape, ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}
        named = {
            "key": key,
            "modifiers": 8 if shift else 0,
            "windowsVirtualKeyCode": codes.get(key, ord(key.upper()[0])),
        }
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.send("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path, whole: bool = True) -> None:
        """A screenshot of the window, or of the whole page."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What the browser says, as it comes; events are noted on the way."""
        until = time.monotonic() + SECONDS
        while True:
            while b"\0" not in self._unread:
                if not select.select([self._in], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise TimeoutError(f"no word from Chromium for {SECONDS:g} s")
                read = os.read(self._in, 2**20)
                assert read, "Chromium has ended"
                self._unread += read
            message, _, self._unread = self._unread.partition(b"\0")
            document = json.loads(message)
            self._note(document.get("method"), document.get("params", {}))
            yield document

    def _note(self, event: str | None, details: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.faults.append(str(details["exceptionDetails"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.faults.append(details["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.faults.append(str(details["args"]))

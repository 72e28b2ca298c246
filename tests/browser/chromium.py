"""Headless Chromium, driven by the Chrome DevTools Protocol over a pair of pipes (--remote-debugging-pipe)."""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
# The sandbox needs privileges that containers do not have; the pages are our own.
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
_FLAGS += ("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")
_TIMEOUT = 60.0


def path() -> str | None:
    """The browser's executable; None where there is none."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Tab:
    """One tab: commands, and the events that came meanwhile."""

    def __init__(self, to_browser: int, from_browser: int):
        self._out, self._in, self._rest, self._last_id = to_browser, from_browser, b"", 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and returns its result."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str, *, width: int = 1200, height: int = 800, dark: bool = False) -> None:
        """Loads a page in a window of that size, and waits until it is loaded; forgets earlier events."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events = []
        self.send("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, *, whole_page: bool = True) -> bytes:
        """A PNG file of the page."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=whole_page)["data"])

    def requests(self) -> list[str]:
        """The URLs that were asked for since the page was opened, data URIs left out."""
        asked = [event["params"]["request"]["url"] for event in self._named("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Console errors and warnings, and uncaught exceptions, since the page was opened."""
        said = [json.dumps(event["params"]) for event in self._named("Runtime.exceptionThrown")]
        for event in self._named("Runtime.consoleAPICalled"):
            if event["params"]["type"] in ("error", "warning", "assert"):
                said.append(json.dumps(event["params"]))
        entries = [event["params"]["entry"] for event in self._named("Log.entryAdded")]
        return said + [entry["text"] for entry in entries if entry["level"] in ("error", "warning")]

    def _named(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] == method]

    def _receive(self) -> dict[str, Any]:
        """The next message; an event is kept."""
        end = time.monotonic() + _TIMEOUT
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            assert ready, f"Chromium said nothing for {_TIMEOUT:g} s"
            data = os.read(self._in, 1 << 20)
            assert data, "Chromium ended"
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(first)
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def running(profile: pathlib.Path) -> Iterator[Tab]:
    """A browser with one tab; profile: a folder for its files."""
    executable = path()
    assert executable is not None, "there is no Chromium: make test-browser installs it"
    (read_commands, write_commands), (read_answers, write_answers) = os.pipe(), os.pipe()
    # Chromium reads commands from file descriptor 3 and writes to 4.
    script = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    command = ["bash", "-c", script, "bash", executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, pass_fds=(read_commands, write_answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Tab(write_commands, read_answers)
    finally:
        os.close(write_commands)  # ends the browser
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        os.close(read_answers)

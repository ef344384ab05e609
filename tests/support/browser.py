"""A headless Chromium, told over the DevTools protocol what to open and to run.

`Browser` is the process; `open()` gives a `Page`, whose `run()` evaluates JavaScript in it, waits
for a promise and returns the value.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from support.server import Lines

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    # It speaks to nobody but the server under test.
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # Certificates are the tests' own.
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
)
ANSWER_S_MAX = 20.0


def executable() -> str | None:
    """An installed browser."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser process with a profile of its own in `folder`."""

    def __init__(self, path: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [path, *OPTIONS, f"--user-data-dir={folder}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # What Debian calls by its name is a script that starts it.
            start_new_session=True,
        )
        assert self.process.stderr is not None
        self._stderr = Lines(self.process.stderr)
        self._numbers = itertools.count(1)
        # What it has told without being asked.
        self._events: list[str] = []
        try:
            line = self._stderr.wait_for("DevTools listening on ws://", timeout_s=ANSWER_S_MAX)
            # Kept open; `connect` wants to be a context manager.
            self._stack = contextlib.ExitStack()
            self._connection = self._stack.enter_context(connect(line.split()[-1], max_size=None))
        except BaseException:
            self._kill()
            raise

    def open(self, url: str) -> Page:
        """A new page, once it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, target, attached["sessionId"])
        page.go(url)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The result of a command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while (answer := self._message()).get("id") != number:
            self._events.append(answer["method"])
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def wait_for_event(self, method: str) -> None:
        """Returns once there is such an event that nobody has waited for."""
        while method not in self._events:
            self._events.append(self._message()["method"])
        self._events.remove(method)

    def forget_events(self) -> None:
        self._events.clear()

    def _message(self) -> Any:
        return json.loads(self._connection.recv(timeout=ANSWER_S_MAX))

    def end(self) -> None:
        self._stack.close()
        self._kill()

    def _kill(self) -> None:
        """Ends all of its processes: nothing in the profile is worth a tidy end."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ANSWER_S_MAX)


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        browser.call("Page.enable", session)
        browser.call("Network.enable", session)

    def go(self, url: str) -> None:
        self._browser.forget_events()
        result = self._browser.call("Page.navigate", self._session, url=url)
        assert "errorText" not in result, result
        self._browser.wait_for_event("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value that the body of an async function returns."""
        result = self._browser.call(
            "Runtime.evaluate",
            self._session,
            expression=f"(async () => {{ {script} }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for_server_event(self) -> None:
        """Returns once an `EventSource` has got an event."""
        self._browser.wait_for_event("Network.eventSourceMessageReceived")

    def wait_for_load(self) -> None:
        """Returns once it has loaded again by itself."""
        self._browser.wait_for_event("Page.loadEventFired")

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

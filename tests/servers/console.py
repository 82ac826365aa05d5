"""`encore dashboard` as a process, and a tab of a browser that hears whom its pages talk to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.integration.api.processes import free_port

PATIENCE_MS = 120_000
START_SECONDS = 120


@dataclass
class Tab:
    """An open tab, every address it asked, what its console complained of."""

    page: Page
    address: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, heading: str) -> Page:
        """Go to a page of the console and wait until it has been drawn."""
        self.page.goto(f"{self.address}/{path}")
        self.page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until Streamlit has finished its run."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


@contextlib.contextmanager
def console(api_url: str, key: str, log: Path) -> Iterator[str]:
    """The console of a service; yields its address."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ENCORE_", "STREAMLIT_"))}
    settings = {"ENCORE_DASHBOARD_API_URL": api_url, "ENCORE_DASHBOARD_API_KEY": key, "ENCORE_ENVIRONMENT": "test"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "dashboard", "--port", str(port)],
            env=clean | settings,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address + "/_stcore/health", process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Until a process answers 200 there."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        said = "" if log is None else log.read_text()
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def open_tab(browser: Browser, address: str, width: int = 1280, height: int = 1000) -> Tab:
    """A new tab that hears everything."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE_MS)
    tab = Tab(page, address)
    page.on("request", lambda request: tab.asked.append(request.url))
    page.on("websocket", lambda socket: tab.asked.append(socket.url))
    page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    return tab


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

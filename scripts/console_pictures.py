"""A picture of each page of the console, of the data of `encore demo`: `python -m scripts.console_pictures [FOLDER]`.

Writes PNG files of at most 100 kB with 64 colours. Needs Debian's Chromium.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.integration.api.processes import free_port
from tests.servers.browser import chromium
from tests.servers.console import Tab, console, open_tab, wait_for

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MAX_BYTES = 100_000
COLOURS = 64
USER = "user-002"
SCOPES = "recs:read,recs:train,recs:admin,events:write,catalog:write"


def encore(home: Path, *arguments: str) -> str:
    """What a command on the demo's data prints."""
    command = [sys.executable, "-m", "app.cli", *arguments]
    environment = os.environ | {"ENCORE_CONFIG_FILE": str(home / "encore.yaml")}
    done = subprocess.run(  # noqa: S603  # our own command
        command, env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout


@contextlib.contextmanager
def demo(home: Path) -> Iterator[str]:
    """The demo's service; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    environment = os.environ | {"ENCORE_CONFIG_FILE": str(home / "encore.yaml")}
    process = subprocess.Popen(command, env=environment)  # noqa: S603  # our own command
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address + "/health/ready", process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def take(tab: Tab, folder: Path, path: str, title: str) -> None:
    """One page, compressed."""
    page = tab.open("" if path == "health" else path, title)
    if path == "try-a-user":
        page.get_by_label("User id").fill(USER)
        page.get_by_label("User id").press("Enter")
        page.get_by_role("heading", name="What if").wait_for()
        tab.settle()
        page.get_by_label("Block this genre").fill("drama")
        page.get_by_label("Block this genre").press("Enter")
        page.get_by_role("cell", name="new", exact=True).first.wait_for()
    if path == "kpis":
        page.locator("canvas, svg.marks").first.wait_for()
    tab.settle()
    image = Image.open(BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
    file = folder / f"console-{path}.png"
    image.save(file, optimize=True)
    if file.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes")


def main() -> None:
    """Build the demo in a temporary folder, and look at it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "demo"
        encore(home, "demo", "--no-serve", "--folder", str(home))
        encore(home, "kpis", "--now")
        key = json.loads(encore(home, "api-keys", "create", "console", "--scope", SCOPES, "--json"))["key"]
        with demo(home) as address, console(address, key, home / "console.log") as shown, chromium() as browser:
            tab = open_tab(browser, shown, 1280, 1400)
            for title, path in PAGES:
                take(tab, folder, path, title)


PAGES = (
    ("Health", "health"),
    ("KPIs", "kpis"),
    ("Models", "models"),
    ("Trainings", "trainings"),
    ("Experiments", "experiments"),
    ("Try a user", "try-a-user"),
    ("Catalogue", "catalogue"),
    ("Dead letters", "dead-letters"),
)

if __name__ == "__main__":
    main()

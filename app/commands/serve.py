"""`encore serve`: the HTTP process; `encore openapi`: its document. Deadlines, and a stop that drops nobody."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.commands.shared import exit_on_error

if TYPE_CHECKING:  # uvicorn and the application are loaded by the command, not by `encore --help`
    import socket

    import uvicorn
    from fastapi import FastAPI

    from app.config import Settings
    from app.infrastructure.server_tls import ServerCertificate

BACKLOG = 512
KEEP_ALIVE_SECONDS = 5
GOODBYE_SECONDS = 0.05
"""For live lists to say that they end before their connections are closed."""

MAX_MESSAGE_BYTES = 1_024
"""What a WebSocket may send us, which is nothing."""
FINISH_SECONDS = 20
"""How long requests in flight may take after the last connection was accepted (docs/reliability.md, O3)."""

GC_THRESHOLDS = (100_000, 50, 1_000)
"""Measured: collecting the young generation every 700 objects makes the tail of the latency (docs/performance.md)."""


def register(app: typer.Typer) -> None:
    """Add `encore serve` and `encore openapi`."""
    app.command("serve")(serve)
    app.command("openapi")(openapi)


def openapi() -> None:
    """Print the OpenAPI document of the HTTP interface: what clients are generated from."""
    import json

    from app.main import openapi_document

    typer.echo(json.dumps(openapi_document(), indent=1, ensure_ascii=False))


def serve(
    host: Annotated[str | None, typer.Option(help="Default: ENCORE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: any free one. Default: ENCORE_PORT.")] = None,
) -> None:
    """Serve lists over HTTP until told to stop. SIGTERM: not ready, drain, finish what runs, exit 0."""
    with exit_on_error():
        from app.config import load_settings
        from app.log_format import configure_logging

        overrides = {"host": host, "port": port}
        settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(refuse_old_schema(settings))
        server = make_server(settings)
        server.run()
        if not server.started:
            raise typer.Exit(1)


async def refuse_old_schema(settings: Settings) -> None:
    """Raise ConfigurationError if migrations are missing; a database that is away is no reason not to start."""
    from app.connecting import connect_database
    from app.domain.exceptions import ConfigurationError, UnavailableError

    with suppress(UnavailableError):
        database = await connect_database(settings)
        try:
            if not await database.schema_is_current():
                raise ConfigurationError("ENCORE_DATABASE_URL", "the schema is not up to date: run `encore migrate`")
        finally:
            await database.close()


def make_server(settings: Settings) -> uvicorn.Server:
    """The server of these settings. Raises ConfigurationError."""
    import uvicorn

    from app.main import create_admin_app, create_app

    app = create_app(settings)
    certificate = certificate_of(settings)
    config = server_config(app, settings, settings.host, settings.port, lifespan="on")
    if certificate is not None:
        config.load()
        config.ssl = certificate.context
    admin = None
    if settings.admin_port is not None:
        operators = create_admin_app(app, settings)
        admin = uvicorn.Server(
            server_config(operators, settings, settings.admin_host, settings.admin_port, lifespan="off")
        )

    def drain() -> None:
        app.state.readiness.is_draining = True
        app.state.services.live.stop_accepting()

    def end_streams() -> None:
        app.state.services.live.end()

    return draining_server(config, drain, settings.drain_seconds, admin, certificate, end_streams)


def certificate_of(settings: Settings) -> ServerCertificate | None:
    """What the public listener shows; None: plain HTTP. Raises ConfigurationError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    from app.infrastructure.server_tls import ServerCertificate

    return ServerCertificate(settings.tls_cert_file, settings.tls_key_file)


def server_config(
    app: FastAPI, settings: Settings, host: str, port: int, lifespan: Literal["on", "off"]
) -> uvicorn.Config:
    """How each listener of the process is run."""
    import uvicorn

    from app.api.protocol import GuardedProtocol
    from app.api.socket_protocol import GuardedWebSocket

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=GuardedProtocol,
        ws=GuardedWebSocket,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # live lists have signs of life of their own, which browsers can see
        loop="uvloop",
        lifespan=lifespan,
        log_config=None,
        access_log=False,  # metrics count requests; the log is for what went wrong
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
    )


def draining_server(
    config: uvicorn.Config,
    drain: Callable[[], None],
    drain_seconds: float,
    admin: uvicorn.Server | None = None,
    certificate: ServerCertificate | None = None,
    end_streams: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """A server that on the first signal turns not ready, still accepts for `drain_seconds`, and only then stops.

    Load balancers need that time to notice; uvicorn alone refuses new connections at once. `admin` is the listener for
    operators: it answers as long as the server does, on the same event loop. `certificate` is followed meanwhile;
    `end_streams` ends answers that would never end by themselves.
    """
    import uvicorn

    class DrainingServer(uvicorn.Server):
        _is_told = False
        _following: asyncio.Task[None]

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # Bound first: a port that is taken ends the process (as uvicorn does it) before anything was opened.
            bound = None if admin is None else [admin.config.bind_socket()]
            await super().startup(sockets)
            if admin is not None and self.started:
                admin.config.load()
                admin.lifespan = admin.config.lifespan_class(admin.config)
                await admin.startup(bound)
            self._following = followed(certificate)
            tune_collector()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._following.cancel()
            if admin is not None and admin.started:
                await admin.shutdown()
            end_streams()
            await asyncio.sleep(GOODBYE_SECONDS)
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # The base class would raise the signal again after a clean stop, and the exit code would not be 0.
            is_second = self._is_told or not self.started
            self.force_exit = is_second and sig == signal.SIGINT
            if is_second or drain_seconds == 0:
                self.should_exit = True
            if self.started and not self._is_told:
                drain()
                asyncio.get_running_loop().call_later(drain_seconds, self._stop)
            self._is_told = True

        def _stop(self) -> None:
            self.should_exit = True

    return DrainingServer(config)


def followed(certificate: ServerCertificate | None) -> asyncio.Task[None]:
    """A task that keeps the certificate current; one that has ended where there is none."""
    following = asyncio.sleep(0) if certificate is None else certificate.follow()
    return asyncio.create_task(following, name="certificate")


def tune_collector() -> None:
    """What is alive now stays alive: never look at it again, and look at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)

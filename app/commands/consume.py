"""`encore consume`: the Kafka ingestion process; `encore outbox`: what waits to go out; `encore asyncapi`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.shared import JsonFlag, exit_on_error, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.bootstrap import Container


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("consume")(consume_events)
    app.command("outbox")(outbox)
    app.command("asyncapi")(asyncapi)


def consume_events() -> None:
    """Take in events from Kafka until SIGTERM or Ctrl-C; probes and metrics on ENCORE_CONSUME_HEALTH_PORT."""
    with exit_on_error():
        from app.config import load_settings
        from app.consumer import consume
        from app.log_format import configure_logging

        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(consume(settings))


def outbox(
    publish: Annotated[bool, typer.Option("--publish", help="Publish what waits, here and now.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """How many events wait to go out; with --publish, send them."""

    async def work(container: Container) -> tuple[int, int]:
        sent = await _publish_all(container) if publish else 0
        return sent, await container.database.outbox.pending()

    sent, waiting = run(work)
    text = f"{waiting:,} waiting" + (f", {sent:,} published" if publish else "")
    output(as_json).result({"waiting": waiting, "published": sent}, text)


async def _publish_all(container: Container) -> int:
    from app.application.outgoing.outbox_relay import OutboxRelay

    relay = OutboxRelay(
        container.database.outbox, container.database.dead_letters, container.publisher, container.clock
    )
    sent = 0
    while number := await relay.run_once():
        sent += number
    return sent


def asyncapi() -> None:
    """Print the AsyncAPI document of the topics, made from the classes that decode the events."""
    from importlib.metadata import version

    from app.application.outgoing.asyncapi import asyncapi_document

    typer.echo(json.dumps(asyncapi_document(version("encore-recs")), indent=2, ensure_ascii=False))

"""`encore demo`: from nothing to a running service with a trained model, and three lines to try it with."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import typer

from app.commands.shared import JsonFlag, Output, exit_on_error, fail, output, prepare, progress
from app.domain.exceptions import ConfigurationError, EncoreError, UnavailableError

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    import uvicorn

    from app.bootstrap import Container
    from app.config import Settings

DEMO_USER = "user-002"
TRAINING_BUDGET_SECONDS = 5
TOKEN_SECONDS = 43_200
START_TIMEOUT_SECONDS = 60.0
PORTS_TO_TRY = 50
REQUEST_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What the demo prints: where it runs, a token, and what to paste."""

    address: str
    token: str
    user_id: str
    curl: tuple[str, str, str]
    first_list: Mapping[str, Any]


def register(app: typer.Typer) -> None:
    """Add `encore demo`."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its database, models and secret.")] = Path(
        "var/demo"
    ),
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Default: 8080 or the next free one.")] = None,
    serve: Annotated[bool, typer.Option(help="--no-serve: only generate and train.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Generate a small catalog, train, serve, and print what to try. A second run reuses what is there."""
    began = time.perf_counter()
    with exit_on_error():
        use_folder(folder)
        settings = prepare()
        out = output(as_json)
        if serve:
            wanted = settings.port if port is None else port
            settings = prepare(port=free_port(settings.host, wanted, port is not None))
        asyncio.run(_make_ready(settings, out))
        if serve:
            _serve(settings, out, began)
        else:
            out.result({"folder": str(folder), "seconds": round(time.perf_counter() - began, 1)}, f"ready in {folder}")


def use_folder(folder: Path) -> None:
    """Point ENCORE_CONFIG_FILE at the folder's settings, made with a random secret on the first run.

    The file is what this process, its server and its trainings share, and what other commands can be given. Settings
    in the environment still win; an ENCORE_CONFIG_FILE that is set already is left alone.
    """
    file = folder / "encore.yaml"
    if os.environ.setdefault("ENCORE_CONFIG_FILE", str(file)) != str(file) or file.exists():
        return
    from app.infrastructure.private_files import make_private_folder

    make_private_folder(folder)
    home = folder.resolve()
    content = {
        "environment": "demo",
        "database_url": f"sqlite+aiosqlite:///{home}/encore.db",
        "artifacts_url": f"file:{home}/artifacts",
        "artifact_copies": f"{home}/artifact-copies",
        "jwt_secret": secrets.token_urlsafe(48),
        "train_time_budget_seconds": TRAINING_BUDGET_SECONDS,
    }
    unfinished = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.writelines(f"{name}: {json.dumps(value)}\n" for name, value in content.items())
    unfinished.rename(file)


async def _make_ready(settings: Settings, out: Output) -> None:
    from app.bootstrap import open_container
    from app.infrastructure.database.migrate import migrate

    with progress("migrating"):
        await asyncio.to_thread(migrate, settings.database_url)
    async with open_container(settings) as container:
        await _fill(container, out)
        await _train(container, out)


async def _fill(container: Container, out: Output) -> None:
    from app.application.demo.demo_filling import fill

    with progress("generating") as bar:
        is_new = await fill(container.database, container.clock(), bar.update)
    count = await container.database.interactions.count()
    out.note(f"catalog   600 items, 400 people, {count:,} interactions {'generated' if is_new else 'found'}")


async def _train(container: Container, out: Output) -> None:
    from app.application.training.model_training import TrainingRequest
    from app.commands.train import train_now

    kind = container.settings.train_model_type
    champion = await container.database.models.champion(kind)
    if champion is not None:
        out.note(f"model       {kind} version {champion.model.version} found")
        return
    began = time.perf_counter()
    job, model = await train_now(container, TrainingRequest(kind))
    if model is None or job.status != "promoted":
        fail(f"training {job.status}: {job.reason}")
    out.note(f"model       {kind} version {model.version} trained in {time.perf_counter() - began:.1f} s: {job.reason}")


def free_port(host: str, wanted: int, is_asked_for: bool) -> int:
    """`wanted`, or the next port nobody listens on. Raises ConfigurationError if that very port was asked for."""
    for port in range(wanted, min(wanted + (1 if is_asked_for else PORTS_TO_TRY), 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return int(probe.getsockname()[1])
    raise ConfigurationError("ENCORE_PORT", f"port {wanted} is in use; give another with --port")


def _serve(settings: Settings, out: Output, began: float) -> None:
    """Serve as `encore serve` does, in this process, and print the offer as soon as there is a list."""
    from app.commands.serve import make_server

    server = make_server(settings)
    failures: list[Exception] = []

    def announce() -> None:
        try:
            offer = _wait_and_ask(settings, server)
        except Exception as error:  # noqa: BLE001  # it is raised again where the process can end with it
            failures.append(error)
            server.should_exit = True
        else:
            out.result(_as_data(offer, began), lambda: _show(offer, began))
            sys.stdout.flush()

    threading.Thread(target=announce, name="announce", daemon=True).start()
    server.run()
    if failures:
        raise failures[0]
    if not server.started:
        fail("the server did not start; its log says why")


def _wait_and_ask(settings: Settings, server: uvicorn.Server) -> Offer:
    address = f"http://{settings.host}:{settings.port}"
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    with progress("starting the server", None):
        while not (server.started and _answers(f"{address}/health/ready")):
            if time.monotonic() > deadline:
                raise UnavailableError(f"the server is not ready after {START_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.05)
    return make_offer(settings, address)


def make_offer(settings: Settings, address: str) -> Offer:
    """A token for one person of the demo, her list, and lines that show it, change it and show it again."""
    from app.application.credentials import issue_token
    from app.connecting import utc_now

    assert settings.jwt_secret is not None
    now = utc_now()
    token = issue_token(
        settings.jwt_secret.get_secret_value(),
        subject=DEMO_USER,
        scopes=("recs:read", "events:write"),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        lifetime_seconds=min(TOKEN_SECONDS, settings.jwt_max_lifetime_seconds),
        now=now,
    )
    url = f"{address}/api/v1/recs/{DEMO_USER}?limit=5&explain=true"
    answer = _get(url, token)
    return Offer(address, token, DEMO_USER, _curl_lines(address, url, token, answer, now), answer)


def _curl_lines(address: str, url: str, token: str, answer: Mapping[str, Any], now: datetime) -> tuple[str, str, str]:
    """The list; the event that its first entry was watched to the end; the list again."""
    entries = answer["recommendations"]
    if not entries:
        raise EncoreError("the demo's list is empty")
    event = {
        "user_id": DEMO_USER,
        "video_id": entries[0]["item_id"],
        "watched_duration": 5_400,
        "total_duration": 5_400,
        "timestamp": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "device": "web",
    }
    bearer = f"-H 'Authorization: Bearer {token}'"
    send = f"-H 'Content-Type: application/json' -d '{json.dumps(event)}'"
    read = f"curl -s {bearer} '{url}'"
    return read, f"curl -s {bearer} {send} {address}/api/v1/events", read


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310  # our own http:// address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _get(url: str, token: str) -> Mapping[str, Any]:
    request = Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  # our own http:// address
    with urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310  # our own http:// address
        content: Mapping[str, Any] = json.load(answer)
    return content


def _as_data(offer: Offer, began: float) -> Mapping[str, object]:
    return {
        "address": offer.address,
        "user_id": offer.user_id,
        "token": offer.token,
        "curl": list(offer.curl),
        "first_list": offer.first_list,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _show(offer: Offer, began: float) -> None:
    typer.echo(f"server      {offer.address}   first list after {time.perf_counter() - began:.1f} s\n")
    typer.echo(f"{offer.user_id} would like:")
    for entry in offer.first_list["recommendations"]:
        reasons = ", ".join(reason["title"] for reason in entry.get("reasons", ()) if reason.get("title"))
        typer.echo(f"  {entry['rank']}. {entry['title']}" + (f"   because of {reasons}" if reasons else ""))
    typer.echo(f"\ntoken ({offer.user_id}, 12 hours)\n{offer.token}\n")
    for title, line in zip(("a list with reasons", "an event", "the changed list"), offer.curl, strict=True):
        typer.echo(f"# {title}\n{line}\n")
    typer.echo(f"{offer.address}/docs shows everything else. Ctrl-C ends it.")
    typer.echo(
        f"Other commands: ENCORE_CONFIG_FILE={os.environ['ENCORE_CONFIG_FILE']} encore recommend {offer.user_id}"
    )

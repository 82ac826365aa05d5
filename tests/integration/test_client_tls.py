"""Clients of TLS servers with a test authority: the right one is spoken to, every other one is refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest

from app.api.jwks import fetch_url
from app.domain.exceptions import CacheUnavailableError, ConfigurationError, DatabaseUnavailableError
from app.infrastructure.cache import open_cache
from app.infrastructure.cache.redis_address import parse_redis_address
from app.infrastructure.cache.redis_sentinel import find_primary
from app.infrastructure.database import open_database
from app.infrastructure.events.kafka_url import parse_kafka_url
from app.infrastructure.storage.s3 import parse_s3_address
from tests.servers.certificates import Authority, Pair
from tests.servers.process import ServerProcess, free_ports, make_folder
from tests.servers.redis import redis_binary
from tests.servers.server import own

CACHE_BYTES = 16_777_216


@dataclass(frozen=True)
class World:
    """An authority, another one, and what the first has signed."""

    good: Authority
    bad: Authority
    server: Pair
    client: Pair
    elsewhere: Pair

    @property
    def ours(self) -> str:
        """The options of somebody who believes the right one and shows a certificate."""
        return f"ca={self.good.cert}&cert={self.client.cert}&key={self.client.key}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    good, bad = (Authority(tmp_path_factory.mktemp("ca"), name) for name in ("good", "bad"))
    server, client = good.pair("127.0.0.1", "localhost"), good.pair(common_name="encore")
    for pair in (server, client):
        for file in (pair.cert, pair.key, good.cert):
            file.chmod(0o644)
    return World(good, bad, server, client, good.pair("elsewhere.example"))


@pytest.fixture(scope="module")
def valkey() -> Iterator[int]:
    """The port. Its user may do everything, the default one nothing."""
    acl = "user encore on >open-sesame ~* &* +@all\nuser default off"
    with configured("valkey", acl) as port:
        yield port


@contextlib.contextmanager
def configured(name: str, lines: str, *options: str) -> Iterator[int]:
    """Valkey with a configuration file; the port."""
    folder, [port] = make_folder(name), free_ports(1)
    file = folder / "valkey.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n{lines}\n")
    process = ServerProcess(
        name=name, command=[redis_binary(), str(file), *options], folder=folder, is_ready=lambda: is_open(port)
    )
    server = own(process, "")
    try:
        yield port
    finally:
        server.stop()


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def asked(url: str) -> None:
    cache = await open_cache(url, max_bytes=CACHE_BYTES)
    try:
        await cache.ping()
    finally:
        await cache.close()


@pytest.mark.real_servers
async def test_valkey_by_tls_with_an_acl_user_and_a_client_certificate(world: World, valkey: int) -> None:
    async with tls_before(valkey, world.server, world.good.cert) as port:
        login, patience = f"encore:open-sesame@127.0.0.1:{port}", "timeout_ms=2000"
        await asked(f"rediss://{login}?{patience}&{world.ours}")
        believing = f"ca={world.bad.cert}&cert={world.client.cert}&key={world.client.key}"
        for url in (
            f"rediss://{login}?{patience}&{believing}",  # another authority
            f"rediss://{login}?{patience}",  # the system's authorities
            f"rediss://{login}?{patience}&ca={world.good.cert}",  # no certificate of ours
            f"rediss://encore:sesame@127.0.0.1:{port}?{patience}&{world.ours}",  # a wrong password
            f"rediss://127.0.0.1:{port}?{patience}&{world.ours}",  # the user who is off
            f"redis://{login}?{patience}",  # in the clear
        ):
            with pytest.raises(CacheUnavailableError):
                await asked(url)
    async with tls_before(valkey, world.elsewhere, world.good.cert) as port:
        with pytest.raises(CacheUnavailableError):
            await asked(f"rediss://encore:open-sesame@127.0.0.1:{port}?{patience}&{world.ours}")


@pytest.mark.real_servers
async def test_a_sentinel_by_tls_with_a_password_of_its_own(world: World) -> None:
    lines = "user guard on >halt ~* &* +@all\nuser default off\nsentinel monitor encore 127.0.0.1 6379 1"
    login = "&sentinel_username=guard&sentinel_password="
    with configured("sentinel", lines, "--sentinel") as plain:
        async with tls_before(plain, world.server, world.good.cert) as port:
            base = f"rediss+sentinel://127.0.0.1:{port}/encore?timeout_ms=2000"
            found = await find_primary(parse_redis_address(f"{base}{login}halt&{world.ours}"))
            assert found == ("127.0.0.1", 6379)
            for wrong in (
                f"{login}hat&{world.ours}",
                f"&{world.ours}",
                f"{login}halt&ca={world.good.cert}",
                f"{login}halt",
            ):
                with pytest.raises(OSError, match="no sentinel"):
                    await find_primary(parse_redis_address(base + wrong))


@contextlib.asynccontextmanager
async def tls_before(port: int, pair: Pair, ca: Path, *, asks_first: bool = False) -> AsyncIterator[int]:
    """The wheels' servers have no TLS: this speaks it in their place, asks for certificates and passes the rest on.

    `asks_first`: as PostgreSQL does it, after an SSLRequest (§54.2.11 of its manual), and not at all in the clear.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.cert, pair.key)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if asks_first:
                if (await reader.readexactly(8))[4:] != (80_877_103).to_bytes(4, "big"):
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(context)
            upstream = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(passed_on(reader, upstream[1]), passed_on(upstream[0], writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=None if asks_first else context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.mark.real_servers
async def test_postgresql_by_tls_knows_its_server_by_name_and_authority(world: World, postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    assert parts.port is not None

    async def pinged(pair: Pair, options: str, host: str = "127.0.0.1") -> None:
        async with tls_before(parts.port or 0, pair, world.good.cert, asks_first=True) as port:
            url = f"postgresql+asyncpg://postgres@{host}:{port}{parts.path}?{options}"
            database = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
            try:
                await database.ping()
                assert await database.schema_is_current()
            finally:
                await database.close()

    await pinged(world.server, world.ours)
    for pair, options in (
        (world.server, f"ca={world.bad.cert}&cert={world.client.cert}&key={world.client.key}"),
        (world.server, "tls=verify"),
        (world.server, f"ca={world.good.cert}"),  # it asks for a certificate of ours
        (world.elsewhere, world.ours),
    ):
        with pytest.raises(DatabaseUnavailableError):
            await pinged(pair, options)
    without_tls = f"{postgres_url}?{world.ours}"
    database = await open_database(without_tls, pool_size=2, timeout_seconds=5, lease_seconds=60)
    with pytest.raises(DatabaseUnavailableError):
        await database.ping()
    await database.close()


async def test_a_key_set_is_had_from_a_host_that_the_named_authority_vouches_for(world: World) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(world.server.cert, world.server.key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    async with server:
        trusted = ssl.create_default_context(cafile=str(world.good.cert))
        assert await asyncio.to_thread(fetch_url, url, trusted) == b"{}"
        for wrong in (ssl.create_default_context(cafile=str(world.bad.cert)), None):
            with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
                await asyncio.to_thread(fetch_url, url, wrong)


def test_options_that_cannot_be_meant_are_refused_by_the_name_of_their_setting(world: World) -> None:
    ca, cert = world.good.cert, world.client.cert
    for parse, url in (
        (parse_redis_address, f"redis://localhost?ca={ca}"),
        (parse_redis_address, f"rediss://localhost?cert={cert}"),
        (parse_kafka_url, f"kafka://localhost:9092?ca={ca}"),
        (parse_kafka_url, "kafka+ssl://localhost:9092?ca=/nowhere"),
        (parse_kafka_url, f"kafka+ssl://localhost:9092?cert={cert}&key={cert}"),
        (parse_s3_address, f"s3://bucket?endpoint=http://localhost&ca={ca}"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            parse(url)
        assert "/" not in caught.value.problem.replace("[/", "").partition("://")[0]
    found = parse_kafka_url(f"kafka+ssl://localhost:9092?{world.ours}").options["ssl_context"]
    assert isinstance(found, ssl.SSLContext)
    assert (found.check_hostname, found.verify_mode) == (True, ssl.CERT_REQUIRED)

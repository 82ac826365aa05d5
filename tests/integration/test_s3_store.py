"""The S3 adapter against a real store, a frozen one, a dead one, and one without conditional writes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Event

import pytest

from app.domain.exceptions import (
    ArtifactDamagedError,
    ArtifactMissingError,
    ArtifactsUnavailableError,
    ConfigurationError,
    ObjectExistsError,
)
from app.domain.interfaces import ArtifactStore
from app.infrastructure.storage import open_artifact_store
from app.infrastructure.storage.s3 import parse_s3_address
from tests.servers import s3 as s3_server_module
from tests.servers.server import Server

KILLS = 50
RACES = 50


@pytest.fixture
async def store(s3_url: str) -> AsyncIterator[ArtifactStore]:
    opened = await open_artifact_store(s3_url)
    yield opened
    await opened.close()


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_address_says_bucket_prefix_and_endpoint() -> None:
    address = parse_s3_address("s3://models/encore/v1?endpoint=http://127.0.0.1:9000&region=x&timeout_seconds=5")

    assert (address.bucket, address.prefix) == ("models", "encore/v1/")
    assert (address.endpoint, address.region, address.timeout_seconds) == ("http://127.0.0.1:9000", "x", 5.0)
    assert parse_s3_address("s3://models").prefix == ""


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://key:secret@bucket",
        "s3://bucket/../x",
        "s3://bucket?endpoint=ftp://x",
        "s3://bucket?endpont=http://x",
        "s3://bucket?timeout_seconds=soon",
        "s3://bucket?timeout_seconds=0",
        "s3://bucket#x",
    ],
)
async def test_an_impossible_address_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_ARTIFACTS_URL") as caught:
        await open_artifact_store(url)
    assert "secret" not in str(caught.value)


# ── the real store ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.real_servers
async def test_bytes_that_are_not_those_that_were_written_are_refused(
    store: ArtifactStore, s3_url: str, s3_server: Server
) -> None:
    await store.put("models/a", b"model")
    address = parse_s3_address(s3_url)
    client = s3_server_module.client(s3_url, s3_server.environment)
    meta = {"sha256": hashlib.sha256(b"model").hexdigest()}
    client.put_object(Bucket=address.bucket, Key=address.prefix + "models/a", Body=b"mooel", Metadata=meta)
    client.close()

    with pytest.raises(ArtifactDamagedError):
        await store.get("models/a", 100)


@pytest.mark.real_servers
async def test_scratch_objects_are_neither_left_nor_listed(
    store: ArtifactStore, s3_url: str, s3_server: Server
) -> None:
    await store.put("models/a", b"x")
    address = parse_s3_address(s3_url)
    client = s3_server_module.client(s3_url, s3_server.environment)
    found = client.list_objects_v2(Bucket=address.bucket, Prefix=address.prefix)["Contents"]
    client.close()

    assert [entry["Key"] for entry in found] == [address.prefix + "models/a"]
    assert list(await store.list("")) == ["models/a"]


@pytest.mark.real_servers
async def test_of_two_publishers_exactly_one_wins_each_race(s3_url: str) -> None:
    """M4: the second publisher is told, and what is read is the winner's."""
    ours, theirs = await open_artifact_store(s3_url), await open_artifact_store(s3_url)

    for race in range(RACES):
        key = f"models/raced/{race}"
        outcomes = await asyncio.gather(ours.put(key, b"ours"), theirs.put(key, b"theirs"), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome] == [ObjectExistsError]
        assert await ours.get(key, 10) == (b"ours" if outcomes[0] is None else b"theirs")
    await ours.close()
    await theirs.close()


@pytest.mark.real_servers
@pytest.mark.slow
async def test_a_publisher_killed_at_any_moment_leaves_only_complete_versions(
    store: ArtifactStore, s3_url: str
) -> None:
    """M4: whatever has a manifest is whole."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    draw = random.Random(11)
    for kill in range(KILLS):
        is_under_way = context.Event()
        publisher = context.Process(target=publish_for_ever, args=(s3_url, kill, is_under_way))
        publisher.start()
        assert await asyncio.to_thread(is_under_way.wait, 60)
        await asyncio.sleep(draw.uniform(0, 0.1))
        publisher.kill()
        publisher.join()
        publisher.close()

    keys = await store.list("models/")
    manifests = [key for key in keys if key.endswith("/manifest.json")]
    assert len(manifests) >= 10  # there was something to break
    for manifest in manifests:
        digests = json.loads(await store.get(manifest, 10_000))
        for name, digest in digests.items():
            part = await store.get(f"{manifest.rpartition('/')[0]}/{name}", 1_000_000)
            assert hashlib.sha256(part).hexdigest() == digest
    assert len({key.rpartition("/")[0] for key in keys}) > len(manifests)  # and some died in the middle


def publish_for_ever(url: str, seed: int, is_under_way: Event) -> None:
    """Versions of three parts, the manifest last, until killed; tells when the first part is written."""
    asyncio.run(_publish_for_ever(url, seed, is_under_way))


async def _publish_for_ever(url: str, seed: int, is_under_way: Event) -> None:
    store = await open_artifact_store(url)
    draw = random.Random(seed)
    for version in range(10_000):
        parts = {f"part{number}": draw.randbytes(100_000) for number in range(3)}
        for name, data in parts.items():
            await store.put(f"models/{seed}/{version:06}/{name}", data)
            is_under_way.set()
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
        await store.put(f"models/{seed}/{version:06}/manifest.json", json.dumps(digests).encode())


STUCK_SECONDS = 20.0
"""botocore's own limit is a minute for each of several tries."""


# ── broken stores ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.real_servers
async def test_a_frozen_and_a_killed_store_are_unavailable_within_seconds(own_s3: Server) -> None:
    store = await open_artifact_store(own_s3.url)
    await store.put("models/a", b"x")

    own_s3.control.pause()
    assert await seconds_until_unavailable(store) < STUCK_SECONDS
    own_s3.control.resume()
    assert await store.get("models/a", 1) == b"x"

    own_s3.control.kill()
    assert await seconds_until_unavailable(store) < STUCK_SECONDS
    own_s3.control.restart()
    assert await store.get("models/a", 1) == b"x"
    await store.close()


async def seconds_until_unavailable(store: ArtifactStore) -> float:
    began = time.monotonic()
    results = await asyncio.gather(
        store.get("models/a", 1), store.put("models/b", b"x"), store.ping(), return_exceptions=True
    )
    assert [type(result) for result in results] == [ArtifactsUnavailableError] * 3
    return time.monotonic() - began


class Answers(BaseHTTPRequestHandler):
    """Says yes to every write; its bodies are a web page, cut short, or dripping, as the path asks."""

    protocol_version = "HTTP/1.1"  # answers "Expect: 100-continue", which the driver sends

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.endswith("drip"):
            self.send_header("Content-Length", "100")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            return
        body = b"<html>welcome to the captive portal</html>"
        self.send_header("Content-Length", str(len(body) + (20 if self.path.endswith("short") else 0)))
        self.send_header("x-amz-meta-sha256", "0" * 64)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def strange_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"s3://bucket?endpoint=http://127.0.0.1:{server.server_port}&region=x&timeout_seconds=1"
        server.shutdown()
        thread.join()


async def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(strange_store: str) -> None:
    store = await open_artifact_store(strange_store)

    with pytest.raises(ConfigurationError, match="conditional writes"):
        await store.put("models/a", b"x")
    await store.close()


async def test_an_answer_that_is_not_the_object_is_refused(strange_store: str) -> None:
    store = await open_artifact_store(strange_store)

    with pytest.raises(ArtifactDamagedError):
        await store.get("models/portal", 1_000)
    with pytest.raises((ArtifactsUnavailableError, ArtifactDamagedError)):
        await store.get("models/short", 1_000)
    await store.close()


async def test_a_body_that_drips_ends_with_the_timeout(strange_store: str) -> None:
    store = await open_artifact_store(strange_store)
    began = time.monotonic()

    with pytest.raises(ArtifactsUnavailableError):
        await store.get("models/drip", 1_000)

    assert time.monotonic() - began < 2
    await store.close()


@pytest.mark.real_servers
async def test_a_bucket_that_is_not_there_is_unavailable_and_a_key_is_missing(s3_server: Server) -> None:
    store = await open_artifact_store(s3_server.url.replace("encore-test?", "no-such-bucket?"))
    with pytest.raises((ArtifactsUnavailableError, ArtifactMissingError)):
        await store.get("models/a", 1)
    await store.close()

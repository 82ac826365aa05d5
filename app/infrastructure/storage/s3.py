"""Artifacts in any S3 store that has conditional writes: AWS, MinIO, SeaweedFS and others.

A key is written once because every put carries `If-None-Match: *`, so two publishers cannot both win. A store that
ignores the header would let the second overwrite the first: the first put of a process tries it out on a scratch key
and refuses such a store (ConfigurationError) before anything is written. Each object carries the SHA-256 of its bytes,
checked by the store when it is put (where it can) and by us while it is read; ETags are not checksums and are ignored.

`s3://bucket[/prefix][?endpoint=http://host:port][&region=eu-west-1][&timeout_seconds=30]`; credentials are found the
way every AWS tool finds them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from opentelemetry.trace import SpanKind

from app.domain.exceptions import (
    ArtifactDamagedError,
    ArtifactMissingError,
    ArtifactsUnavailableError,
    ConfigurationError,
    EncoreError,
    InputError,
    ObjectExistsError,
)
from app.domain.interfaces import ArtifactStore
from app.infrastructure.storage.keys import split_key
from app.infrastructure.uninterrupted import BlockingCalls, uninterrupted
from app.spans import span

_Result = TypeVar("_Result")

SETTING = "ENCORE_ARTIFACTS_URL"
_CONNECT_SECONDS = 1.0
_SILENCE_SECONDS = 3.0
"""How long the store may send nothing at all; the whole call is bounded by `timeout_seconds`."""
_CHUNK_BYTES = 1 << 20
_MAX_LISTED = 100_000
_SCRATCH = ".conditional-writes"
"""Not a key by keys.py, so it can neither be listed nor collide."""
_MISSING = ("404", "NoSuchKey", "NotFound")
_EXISTS = ("412", "PreconditionFailed")
_COLLIDED = ("409", "ConditionalRequestConflict")


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where the objects are; `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    timeout_seconds: float


def parse_s3_address(url: str) -> S3Address:
    """Raises ConfigurationError for anything but the form in this module's docstring."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        timeout = float(options.pop("timeout_seconds", "30"))
    except ValueError as exc:
        raise ConfigurationError(SETTING, "an option of the s3: URL is malformed") from exc
    endpoint, region = options.pop("endpoint", None), options.pop("region", None)
    prefix = parts.path.strip("/")
    if not parts.netloc or "@" in parts.netloc or parts.fragment or options or not 1 <= timeout <= 3_600:
        raise ConfigurationError(SETTING, "expected s3://bucket/prefix[?endpoint=…&region=…&timeout_seconds=…]")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ConfigurationError(SETTING, "the endpoint must be an http: or https: URL")
    try:
        split_key(prefix or "none")
    except InputError as exc:
        raise ConfigurationError(SETTING, "the prefix has characters that a key may not have") from exc
    return S3Address(parts.netloc, prefix and prefix + "/", endpoint, region, timeout)


async def open_s3_store(url: str) -> ArtifactStore:
    """The store of an s3: URL. Nothing is asked yet: a process starts while the store is down."""
    address = parse_s3_address(url)
    try:
        client = await asyncio.to_thread(_client, address)
    except (BotoCoreError, ValueError) as exc:
        raise ConfigurationError(SETTING, "the endpoint, the region or the credentials cannot be used") from exc
    return S3ArtifactStore(client, address)


def _client(address: S3Address) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_SILENCE_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=8,
            s3={"addressing_style": "path" if address.endpoint else "auto"},
            # The default sends checksums in trailers, which many stores other than AWS do not take.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3ArtifactStore(ArtifactStore):
    """The `s3:` adapter. Blocking calls run in a small pool of its own, each within the address's timeout."""

    def __init__(self, client: Any, address: S3Address) -> None:
        self._client = client
        self._address = address
        self._calls = BlockingCalls(8, "s3")
        self._trying = threading.Lock()
        self._is_tried = False

    async def put(self, key: str, data: bytes) -> None:
        split_key(key)
        await self._run("PutObject", lambda _deadline: self._put(key, data))

    async def get(self, key: str, max_bytes: int) -> bytes:
        split_key(key)
        return await self._run("GetObject", lambda deadline: self._get(key, max_bytes, deadline))

    async def list(self, prefix: str) -> Sequence[str]:
        return await self._run("ListObjectsV2", lambda _deadline: self._list(prefix))

    async def delete(self, key: str) -> None:
        split_key(key)
        await self._run("DeleteObject", lambda _deadline: self._client.delete_object(**self._at(key)))

    async def ping(self) -> None:
        bucket, prefix = self._address.bucket, self._address.prefix
        await self._run(
            "ListObjectsV2",
            lambda _deadline: self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1),
        )

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        # in this order: a call still running would connect again
        await self._calls.close(self._address.timeout_seconds)
        self._client.close()

    async def _run(self, operation: str, work: Callable[[float], _Result]) -> _Result:
        """Run blocking work with its deadline (monotonic); the one place where driver errors become ours."""
        deadline = time.monotonic() + self._address.timeout_seconds
        with span(f"S3 {operation}", SpanKind.CLIENT, {"rpc.system": "aws-api", "rpc.method": operation}):
            return await self._bounded(work, deadline)

    async def _bounded(self, work: Callable[[float], _Result], deadline: float) -> _Result:
        try:
            async with asyncio.timeout(self._address.timeout_seconds):
                return await self._calls.run(work, deadline)
        except ClientError as exc:
            raise _translated(exc) from exc
        except (BotoCoreError, OSError) as exc:  # TimeoutError is an OSError
            raise ArtifactsUnavailableError("the artifact store refused or did not answer in time") from exc

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": self._address.prefix + key}

    def _put(self, key: str, data: bytes) -> None:
        self._refuse_store_without_conditions()
        try:
            self._put_if_absent(key, data)
        except ClientError as exc:
            if _code(exc) not in _COLLIDED:
                raise
            # Two writers at the same moment: AWS asks both to try once more, and one finds the key written.
            self._put_if_absent(key, data)

    def _put_if_absent(self, key: str, data: bytes) -> None:
        digest = hashlib.sha256(data)
        self._client.put_object(
            **self._at(key),
            Body=data,
            IfNoneMatch="*",
            ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            Metadata={"sha256": digest.hexdigest()},
        )

    def _refuse_store_without_conditions(self) -> None:
        with self._trying:
            if self._is_tried:
                return
            key = f"{_SCRATCH}/{uuid4().hex}"
            try:
                self._put_if_absent(key, b"first")
                self._put_if_absent(key, b"second")
            except ClientError as exc:
                self._is_tried = _code(exc) in _EXISTS
                if not self._is_tried and _code(exc) not in ("501", "NotImplemented"):
                    raise
            finally:
                self._client.delete_object(**self._at(key))
            if not self._is_tried:
                raise ConfigurationError(SETTING, "this store has no conditional writes (If-None-Match)")

    def _get(self, key: str, max_bytes: int, deadline: float) -> bytes:
        answer = self._client.get_object(**self._at(key))
        body, size = answer["Body"], answer["ContentLength"]
        with body:
            if size > max_bytes:
                raise ArtifactDamagedError(key.rpartition("/")[2], "larger than allowed")
            data, digest = bytearray(), hashlib.sha256()
            # what has come so far, not all that was asked for: a body that drips must not hold this thread
            while chunk := body._raw_stream.read1(_CHUNK_BYTES):
                data += chunk
                digest.update(chunk)
                if len(data) > max_bytes or time.monotonic() > deadline:
                    raise ArtifactsUnavailableError("the artifact store sent too much or too slowly")
        if len(data) != size or answer["Metadata"].get("sha256", digest.hexdigest()) != digest.hexdigest():
            raise ArtifactDamagedError(key.rpartition("/")[2], "not the bytes that were written")
        return bytes(data)

    def _list(self, prefix: str) -> Sequence[str]:
        start = len(self._address.prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._address.bucket,
            Prefix=self._address.prefix + prefix,
            PaginationConfig={"MaxItems": _MAX_LISTED},
        )
        keys = (entry["Key"][start:] for page in pages for entry in page.get("Contents", ()))
        return sorted(key for key in keys if not key.startswith(_SCRATCH) and not key.endswith("/"))


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _translated(exc: ClientError) -> EncoreError:
    if _code(exc) in _MISSING:
        return ArtifactMissingError("a part of the artifact is missing")
    if _code(exc) in _EXISTS:
        return ObjectExistsError("the key is already written")
    # Access denied and a missing bucket are here too: whoever set it up can mend it while we run on.
    return ArtifactsUnavailableError("the artifact store refused")

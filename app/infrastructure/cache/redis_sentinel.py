"""The server that Sentinel says is the primary, by redis-py."""

from __future__ import annotations

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from app.infrastructure.cache.redis_address import RedisAddress


async def find_primary(address: RedisAddress) -> tuple[str, int]:
    """(host, port). Sentinels are asked one after the other. Raises OSError if none knows a primary that lives."""
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # this class has no types
        address.nodes,
        sentinel_kwargs={
            "socket_timeout": address.timeout_seconds,
            "socket_connect_timeout": address.timeout_seconds,
            "retry": None,
            "protocol": 2,
            **address.tls_options(),
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        },
    )
    try:
        host, port = await sentinel.discover_master(address.service)
    except RedisError as exc:
        raise ConnectionError("no sentinel knows a primary") from exc
    finally:
        for one in sentinel.sentinels:
            await one.aclose()
    return str(host), int(port)

"""What a Redis URL may say."""

from __future__ import annotations

import pytest

from app.domain.exceptions import ConfigurationError
from app.infrastructure.cache.redis_address import parse_redis_address


def test_defaults_are_filled_in() -> None:
    address = parse_redis_address("redis://cache")

    assert (address.nodes, address.database) == ((("cache", 6379),), 0)
    assert (address.prefix, address.timeout_seconds, address.is_tls) == ("encore:", 0.05, False)
    assert address.password is None


def test_everything_can_be_said() -> None:
    address = parse_redis_address("rediss://me:p%40ss@[::1]:7000/3?prefix=a:&timeout_ms=200")

    assert (address.nodes, address.database) == ((("::1", 7000),), 3)
    assert (address.username, address.password, address.is_tls) == ("me", "p@ss", True)
    assert (address.prefix, address.timeout_seconds) == ("a:", 0.2)


def test_sentinels_name_a_service() -> None:
    address = parse_redis_address("redis+sentinel://me:pw@h1:1,h2/main/2?sentinel_username=s&sentinel_password=q%26")

    assert (address.kind, address.nodes, address.service, address.database) == (
        *("sentinel", (("h1", 1), ("h2", 26379))),
        *("main", 2),
    )
    assert (address.username, address.password, address.is_tls) == ("me", "pw", False)
    assert (address.sentinel_username, address.sentinel_password) == ("s", "q&")


def test_a_cluster_has_nodes_and_no_database() -> None:
    address = parse_redis_address("rediss+cluster://:pw@[::1]:7000,h2:7001?prefix=a:")

    assert (address.kind, address.nodes) == ("cluster", (("::1", 7000), ("h2", 7001)))
    assert (address.username, address.password, address.is_tls, address.prefix) == (None, "pw", True, "a:")


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h1,h2",
        "redis+sentinel://u:secret@h1:1",
        "redis+sentinel://u:secret@h1:1/main/x",
        "redis+sentinel://u:secret@h1:1/main/0/1",
        "redis+sentinel://u:secret@/main",
        "redis+cluster://u:secret@h1:1,/",
        "redis+cluster://u:secret@h1:1/0",
        "redis+cluster://u:secret@h1:1?sentinel_password=secret",
        "redis+ring://u:secret@h1:1",
        "redis://",
        "redis://u:secret@cache:notaport",
        "redis://u:secret@cache/x",
        "redis://u:secret@cache/-1",
        "redis://u:secret@cache?timeout_ms=0",
        "redis://u:secret@cache?timeout_ms=nan",
        "redis://u:secret@cache?timeout_ms=60000",
        "redis://u:secret@cache?timeout=1",
        "redis://u:secret@cache?prefix=%00",
        "redis://u:secret@cache#x",
        "memcached://u:secret@cache",
    ],
)
def test_an_impossible_url_names_the_setting_and_keeps_the_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_CACHE_URL") as caught:
        parse_redis_address(url)

    assert "secret" not in str(caught.value)


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "secret" not in repr(parse_redis_address("redis://u:secret@cache"))

"""What a Redis URL says: `redis[s]://[user:password@]host[:port][/database][?prefix=encore:&timeout_ms=50]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from app.domain.exceptions import ConfigurationError

MAX_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is and how long it may take for one answer."""

    host: str
    port: int
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    is_tls: bool
    prefix: str
    timeout_seconds: float


def parse_redis_address(url: str, setting: str = "ENCORE_CACHE_URL") -> RedisAddress:
    """Raises ConfigurationError naming `setting`, never the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        prefix = options.pop("prefix", "encore:")
        timeout_ms = float(options.pop("timeout_ms", "50"))
        database = int(parts.path.strip("/") or "0")
        port = parts.port or 6379
    except ValueError as exc:
        raise ConfigurationError(setting, "the port, the database or an option is not a number") from exc
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or options or parts.fragment:
        raise ConfigurationError(setting, "expected redis[s]://host[:port][/database][?prefix=…&timeout_ms=…]")
    if not 1 <= timeout_ms <= MAX_TIMEOUT_MS or database < 0 or not prefix.isprintable():
        raise ConfigurationError(setting, f"timeout_ms must be 1–{MAX_TIMEOUT_MS}, the database ≥ 0")
    return RedisAddress(
        host=parts.hostname,
        port=port,
        database=database,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        is_tls=parts.scheme == "rediss",
        prefix=prefix,
        timeout_seconds=timeout_ms / 1_000,
    )

"""What a Redis URL says: one server, a primary that Sentinel names, or a cluster.

    redis[s]://[user:password@]host[:port][/database]
    redis[s]+sentinel://[user:password@]host[:port][,host[:port]…]/service[/database][&sentinel_username=…&sentinel_password=…]
    redis[s]+cluster://[user:password@]host[:port][,host[:port]…]

each with [?prefix=encore:&timeout_ms=50], and rediss… with [&ca=…&cert=…&key=…] (app/infrastructure/client_tls.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from app.domain.exceptions import ConfigurationError
from app.infrastructure.client_tls import NO_FILES, TlsFiles, take_tls_files

MAX_TIMEOUT_MS = 5_000
SINGLE, SENTINEL, CLUSTER = "", "sentinel", "cluster"
_SCHEMES = {
    f"{scheme}{'+' * bool(kind)}{kind}": kind for scheme in ("redis", "rediss") for kind in (SINGLE, SENTINEL, CLUSTER)
}
_PORTS = {SINGLE: 6379, SENTINEL: 26379, CLUSTER: 6379}
_FORMS = (
    "expected redis[s]://host[:port][/database], redis[s]+sentinel://host[:port],…/service[/database]"
    " or redis[s]+cluster://host[:port],…, with [?prefix=…&timeout_ms=…]"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is and how long it may take for one answer.

    `nodes` are sentinels or nodes of a cluster where the kind says so, else the one server.
    """

    nodes: tuple[tuple[str, int], ...]
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    is_tls: bool
    prefix: str
    timeout_seconds: float
    kind: str = SINGLE
    service: str = ""
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: TlsFiles = NO_FILES

    def tls_options(self) -> dict[str, Any]:
        """The options of redis-py's clients."""
        if not self.is_tls:
            return {"ssl": False}
        return {
            "ssl": True,
            "ssl_ca_certs": self.tls.ca,
            "ssl_certfile": self.tls.cert,
            "ssl_keyfile": self.tls.key,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
        }


def parse_redis_address(url: str, setting: str = "ENCORE_CACHE_URL") -> RedisAddress:
    """Raises ConfigurationError naming `setting`, never the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        kind = _SCHEMES[parts.scheme]
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        prefix = options.pop("prefix", "encore:")
        timeout_ms = float(options.pop("timeout_ms", "50"))
        login, _, hosts = parts.netloc.rpartition("@")
        nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
        service, database = _path(parts.path, kind)
    except (ValueError, KeyError) as exc:
        raise ConfigurationError(setting, f"the scheme, a port, the database or an option is wrong: {_FORMS}") from exc
    files = take_tls_files(options, setting, is_tls=parts.scheme.startswith("rediss"))
    sentinel = {name: options.pop(name) for name in ("sentinel_username", "sentinel_password") if name in options}
    if options or parts.fragment or (len(nodes) > 1 and kind == SINGLE) or (sentinel and kind != SENTINEL):
        raise ConfigurationError(setting, _FORMS)
    if not 1 <= timeout_ms <= MAX_TIMEOUT_MS or database < 0 or not prefix.isprintable():
        raise ConfigurationError(setting, f"timeout_ms must be 1–{MAX_TIMEOUT_MS}, the database ≥ 0")
    username, _, password = login.partition(":")
    return RedisAddress(
        nodes=nodes,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        is_tls=parts.scheme.startswith("rediss"),
        prefix=prefix,
        timeout_seconds=timeout_ms / 1_000,
        kind=kind,
        service=service,
        tls=files,
        **sentinel,
    )


def _node(text: str, default_port: int) -> tuple[str, int]:
    """Raises ValueError unless it is `host`, `host:port` or `[address]:port`."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError(text)
    return parts.hostname, default_port if parts.port is None else parts.port


def _path(path: str, kind: str) -> tuple[str, int]:
    """(service, database). Raises ValueError for a path that this kind of address does not have."""
    segments = [unquote(segment) for segment in path.strip("/").split("/")] if path.strip("/") else []
    if kind == SENTINEL and not segments:
        raise ValueError(path)
    service = segments.pop(0) if kind == SENTINEL else ""
    if len(segments) > (0 if kind == CLUSTER else 1):
        raise ValueError(path)
    return service, int(segments[0]) if segments else 0

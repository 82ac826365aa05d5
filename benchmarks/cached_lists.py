"""A list that is in the cache, with a token checked on every request: from process memory with HS256 tokens, and
through Redis with RS256 tokens from a JWKS file; similar items; beside them a bare FastAPI route in the same run.

Server on one core, load on another; each person's own token asks for that person's list; medians of three rounds. The
processor time per request says what a busy machine hides: 1e6 / server_us is the rate of a core of one's own. The first
line is the load generator alone, against a socket that answers fixed bytes. Redis: tests.servers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from benchmarks.load import Request, Result, put_load
from benchmarks.machine import report, resident_bytes
from benchmarks.processes import Home, Server, demo_home, free_port, until
from tests.servers.fleet import obtain

ROUNDS, SECONDS, CONNECTIONS, PEOPLE = 3, 5.0, 32, 400
SERVER_CORE, LOAD_CORE = 0, 1
BENCHMARK = "cached_lists"
NO_LIMIT = "1000000"
"""Requests a minute: nobody is refused, everybody is counted."""


def people() -> Sequence[str]:
    """The ids of the demo's people."""
    return [f"user-{number:03d}" for number in range(1, PEOPLE + 1)]


def requests_of(home: Home) -> Sequence[Request]:
    """One request per person, with a token of their own."""
    return [(f"/api/v1/recs/{user}", bearer(home.token(user, "recs:read"))) for user in people()]


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


def rs256(folder: Path) -> tuple[Path, Sequence[Request]]:
    """(a key set file, one request per person, signed with its key)."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    public = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k1", "alg": "RS256", "use": "sig"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    now = datetime.now(UTC)
    common = {"iss": "encore", "aud": "encore", "iat": now, "exp": now + timedelta(hours=1), "scope": "recs:read"}
    tokens = [jwt.encode({**common, "sub": user}, key, algorithm="RS256", headers={"kid": "k1"}) for user in people()]
    paths = [f"/api/v1/recs/{user}" for user in people()]
    return folder / "jwks.json", [(path, bearer(token)) for path, token in zip(paths, tokens, strict=True)]


def similar_of(server: Server, home: Home) -> Sequence[Request]:
    """Requests for what is like each item of a few lists."""
    lists = [server.list_for(user)["recommendations"] for user in people()[:10]]
    items = sorted({entry["item_id"] for entries in lists for entry in entries})
    return [(f"/api/v1/items/{item}/similar", bearer(home.token(people()[0], "recs:read"))) for item in items]


def warm(server: Server, requests: Sequence[Request]) -> None:
    """Ask for everything twice: what is asked for again is kept."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for path, headers in [*requests, *requests]:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.read()[:500]!r}")
        answer.read()
    connection.close()


@contextmanager
def yardstick(*arguments: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of benchmarks.bare."""
    port = free_port()
    pinned = ("taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "benchmarks.bare")
    process = subprocess.Popen([*pinned, str(port), *arguments])
    try:
        for _ in until(30, pause=0.2):
            if _answers(port):
                break
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/v1/recs/u1")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def rounds(figure: str, port: int, pid: int, requests: Sequence[Request], **with_what: object) -> None:
    """Load it a few times and print the median round."""
    results: list[Result] = [
        put_load(port, requests, connections=CONNECTIONS, seconds=SECONDS, core=LOAD_CORE, server_pid=pid)
        for _ in range(ROUNDS)
    ]
    median = sorted(results, key=lambda result: result.per_second)[len(results) // 2]
    report(
        BENCHMARK,
        figure,
        median.per_second,
        "requests/s",
        p50_ms=round(median.p50_ms, 2),
        p99_ms=round(median.p99_ms, 2),
        server_us=round(median.server_us, 1),
        load_us=round(median.load_us, 1),
        failures=sum(result.failures for result in results),
        connections=CONNECTIONS,
        **with_what,
    )


def main() -> None:
    """Print every figure; a Redis that cannot be had is said, not passed over."""
    with yardstick("raw") as (port, pid):
        rounds("load generator alone", port, pid, [("/", bearer("x" * 300))])
    with yardstick() as (port, pid):
        rounds("bare FastAPI route", port, pid, [("/api/v1/recs/u1", bearer("x" * 300))])
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE=NO_LIMIT)
        requests = requests_of(home)
        with home.serve(core=SERVER_CORE) as server:
            warm(server, requests)
            rounds("rate", server.port, server.process.pid, requests, people=PEOPLE, token="HS256", cache="memory")
            similar = similar_of(server, home)
            warm(server, similar)
            rounds("similar", server.port, server.process.pid, similar, items=len(similar))
            memory = resident_bytes(server.process.pid)
            report(BENCHMARK, "server memory", memory / 1_048_576, "MiB", people=PEOPLE, items=600)
        through_redis(home, Path(folder))


def through_redis(home: Home, folder: Path) -> None:
    """The same lists in a Redis of our own, with tokens of an identity provider."""
    redis = obtain("redis")
    try:
        key_set, requests = rs256(folder)
        others = {"ENCORE_CACHE_URL": redis.url, "ENCORE_JWT_JWKS_FILE": str(key_set), "ENCORE_JWT_SECRET": ""}
        with replace(home, settings={**home.settings, **others}).serve(core=SERVER_CORE) as server:
            warm(server, requests)
            pid = server.process.pid
            rounds("rate through Redis", server.port, pid, requests, people=PEOPLE, token="RS256", cache="redis")
    finally:
        redis.stop()


if __name__ == "__main__":
    main()

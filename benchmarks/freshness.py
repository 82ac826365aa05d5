"""From sending an event over HTTP to having the changed list, as a client sees it: one request after the other."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.machine import report
from benchmarks.processes import Server, demo_home

PEOPLE = 300
BENCHMARK = "freshness"


class Client:
    """A connection that stays open, as a gateway's would."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=30)

    def ask(self, method: str, path: str, token: str, body: object = None) -> dict[str, object]:
        """The parsed answer; anything but success raises."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content: dict[str, object] = json.loads(answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{method}: status {answer.status}")
        return content


def watched(user: str, item: object) -> dict[str, object]:
    """The event that somebody has watched an item to its end."""
    now = datetime.now(UTC).isoformat()
    return {"user_id": user, "video_id": item, "watched_duration": 5_400, "total_duration": 5_400, "timestamp": now}


def item_ids(answer: dict[str, object]) -> list[object]:
    """The items of a list, best first."""
    entries = answer["recommendations"]
    assert isinstance(entries, list)
    return [entry["item_id"] for entry in entries]


def measure(server: Server, user: str, client: Client) -> tuple[float, bool]:
    """(seconds from sending the event to having the next list, whether that list has changed)."""
    token = server.home.token(user)
    before = item_ids(client.ask("GET", f"/api/v1/recs/{user}", token))
    started = time.perf_counter()
    client.ask("POST", "/api/v1/events", token, watched(user, before[0]))
    after = item_ids(client.ask("GET", f"/api/v1/recs/{user}", token))
    return time.perf_counter() - started, before[0] not in after


def main() -> None:
    """Print the distribution, and how many lists had not changed (none may)."""
    with tempfile.TemporaryDirectory() as folder, demo_home(Path(folder)).serve() as server:
        client = Client(server)
        measured = [measure(server, f"user-{number:03d}", client) for number in range(1, PEOPLE + 1)]
    seconds = sorted(taken for taken, _ in measured)
    stale = sum(not changed for _, changed in measured)
    for name, fraction in (("p50", 0.5), ("p95", 0.95)):
        value = seconds[int(len(seconds) * fraction)] * 1_000
        report(BENCHMARK, f"event to changed list {name}", value, "ms", events=PEOPLE, unchanged=stale)
    if stale:
        raise SystemExit(f"{stale} lists had not changed")


if __name__ == "__main__":
    main()

"""What locust's users do: benchmarks/locust_load.py starts it. Alone: `locust -f benchmarks/locustfile.py -H URL`."""

from __future__ import annotations

from datetime import UTC, datetime

import gevent  # type: ignore[import-untyped]  # it has none
from locust import FastHttpUser, constant_throughput, events, task

from benchmarks.locust_load import person


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust's has no types
def read_the_clock(**_: object) -> None:
    """The event loop's clock stands since locust began to load: on a slow machine `-t 20s` would be over at once."""
    gevent.get_hub().loop.update_now()


class Viewer(FastHttpUser):
    """Looks at lists all the time, at similar items often, and does something now and then."""

    wait_time = constant_throughput(20)

    def on_start(self) -> None:
        self.user, self.headers = person()
        self.seen = ""

    @task(20)
    def look(self) -> None:
        """A list."""
        path = f"/api/v1/recs/{self.user}"
        with self.client.get(path, headers=self.headers, name="/api/v1/recs/{user_id}", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            else:
                self.seen = answer.json()["recommendations"][0]["item_id"]

    @task(5)
    def similar(self) -> None:
        """What is like the first of it."""
        if not self.seen:
            return
        self.client.get(
            f"/api/v1/items/{self.seen}/similar", headers=self.headers, name="/api/v1/items/{item_id}/similar"
        )

    @task(1)
    def rate(self) -> None:
        """An event, which changes the next list."""
        if not self.seen:
            return
        event = {"user_id": self.user, "video_id": self.seen, "rating": 4.0, "timestamp": datetime.now(UTC).isoformat()}
        self.client.post("/api/v1/events", json=event, headers=self.headers, name="/api/v1/events")

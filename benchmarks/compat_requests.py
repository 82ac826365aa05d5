"""Each documented request of the older systems, and what its answer must look like, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

Check = Callable[[Any], bool]
Shape = Mapping[str, Any]


class Http(Protocol):
    """What asks: the test client, or any client of httpx."""

    def request(self, method: str, url: str, *, json: Any = None) -> Any: ...


@dataclass
class Client:
    """Asks, and keeps what was not as documented."""

    http: Http
    asked: int = 0
    problems: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, shape: Shape, *, body: Any = None, status: int = 200) -> Any:
        """The answer's JSON; its status and fields are compared."""
        self.asked += 1
        answer = self.http.request(method, path, json=body)
        where = f"{method} {path}"
        if answer.status_code != status:
            self.problems.append(f"{where}: {answer.status_code} instead of {status}")
            return None
        self.problems += differences(answer.json(), shape, where)
        return answer.json()

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.problems.append(what)


def differences(value: Any, shape: Any, where: str) -> list[str]:
    """Where a value is not of this shape: fields in this order and no others; a list of one shape; a check."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping) or list(value) != list(shape):
            return [f"{where}: fields {list(value) if isinstance(value, Mapping) else value}, not {list(shape)}"]
        return [one for name, part in shape.items() for one in differences(value[name], part, f"{where}.{name}")]
    if isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return [f"{where}: no list, or an empty one"]
        return [one for place, line in enumerate(value) for one in differences(line, shape[0], f"{where}[{place}]")]
    return [] if shape(value) else [f"{where}: {value!r}"]


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def yes_or_no(value: Any) -> bool:
    return isinstance(value, bool)


def moment(value: Any) -> bool:
    return text(value) and datetime.fromisoformat(value).tzinfo is not None


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(text, value))


def maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


PAGE: Shape = {"total": number, "limit": number, "offset": number, "has_more": yes_or_no}
STATUS = {"healthy", "degraded", "unhealthy"}.__contains__


def ask_posts(client: Client) -> tuple[int, Sequence[str]]:
    """(requests asked, what was not as documented)."""
    line = {"post_id": text, "score": number, "metadata": {"tags": texts, "communityId": text}}
    shape = {"user_id": text, "recommendations": [line], "pagination": PAGE}
    first = client.ask("GET", "/recommendations/7?limit=20&offset=0", shape)
    second = client.ask("GET", "/recommendations/7?limit=20&offset=20", shape)
    if first and second:
        both = [one["post_id"] for page in (first, second) for one in page["recommendations"]]
        client.expect(len(set(both)) == 40, "pages repeat posts")
        client.expect(first["pagination"]["limit"] == 20 and first["pagination"]["has_more"], "the first page")
        client.expect(_own_communities(client, "7", first) >= 15, "posts of other communities than the person's")
    details = {
        "reloaded": yes_or_no,
        "reason": text,
        "previous_reload_time": maybe(moment),
        "current_reload_time": moment,
        "num_users": number,
        "num_items": number,
    }
    client.ask("POST", "/admin/reload-model", {"success": bool, "message": text, "details": details})
    state = {
        "model_loaded": bool,
        "model_id": text,
        "model_type": text,
        "model_version": number,
        "last_reload_time": moment,
        "num_users": number,
        "num_items": number,
    }
    client.ask("GET", "/admin/model-status", state)
    components = {
        "model": {"status": STATUS, "type": text},
        "database": {"status": STATUS, "response_time_ms": number},
        "features": {"user_features": number, "item_features": number},
    }
    client.ask("GET", "/health", {"status": STATUS, "components": components})
    return client.asked, client.problems


def _own_communities(client: Client, user_id: str, answer: Any) -> int:
    """How many of the posts are of communities that the person follows."""
    profile = client.http.request("GET", f"/api/v1/users/{user_id}").json()["attributes"]["communities"].split("|")
    return sum(one["metadata"]["communityId"] in profile for one in answer["recommendations"])


def ask_movies(client: Client) -> tuple[int, Sequence[str]]:
    """(requests asked, what was not as documented)."""
    line = {"movie_id": text, "title": text, "score": number}
    shape = {
        "user_id": text,
        "recommendations": [line],
        "model_version": text,
        "is_fallback": yes_or_no,
        "fallback_reason": maybe(text),
    }
    filters = {"genres": ["Comedy"], "year_min": 1960, "year_max": 2000}
    body = {"user_id": 1, "k": 10, "exclude_seen": True, "filters": filters}
    answer = client.ask("POST", "/recommend", shape, body=body)
    client.expect(bool(answer) and answer["user_id"] == "1" and not answer["is_fallback"], "a personal list")
    newcomer = client.ask("POST", "/recommend", shape, body={"user_id": "nobody", "k": 5})
    client.expect(bool(newcomer) and newcomer["is_fallback"], "a newcomer's list says so")
    similar = {"movie_id": text, "recommendations": [line], "model_version": text}
    client.ask("POST", "/similar", similar, body={"movie_id": 1, "k": 10})
    client.ask("POST", "/similar", {"error": text, "message": text}, body={"movie_id": 0, "k": 10}, status=404)
    popular = {"movie_id": text, "title": text, "popularity_score": number}
    client.ask("GET", "/popular?k=10&genre=Comedy", {"recommendations": [popular], "source": text})
    health = {"status": STATUS, "model_version": text, "model_loaded_at": moment, "uptime_seconds": number}
    client.ask("GET", "/health", health)
    return client.asked, client.problems


def ask_books(client: Client) -> tuple[int, Sequence[str]]:
    """(requests asked, what was not as documented)."""
    line = {"book_id": text, "title": text, "score": number}
    shape = {"user_id": text, "recommendations": [line], "pagination": PAGE}
    taken = {"accepted": number, "duplicates": number}
    address = "/users/r7/recommendations?limit=20"
    before = client.ask("GET", address, shape)
    chosen = [one["book_id"] for one in before["recommendations"]] if before else ["b0", "b1"]
    client.expect(all(int(book[1:]) % 20 != 7 for book in chosen), "a book that is sold out")
    order = {"order_id": "o1", "user_id": "r7", "items": [{"book_id": chosen[0], "quantity": 1}]}
    told = {**order, "timestamp": datetime.now(UTC).isoformat()}
    client.ask("POST", "/events/purchases", taken, body=told, status=202)
    again = client.ask("POST", "/events/purchases", taken, body=told, status=202)
    client.expect(bool(again) and again["duplicates"] == 1, "an order told twice counts once")
    client.ask("POST", "/events/inventory", taken, body={"book_id": chosen[1], "in_stock": False}, status=202)
    profile = {"user_id": "r7", "attributes": {"country": "NL"}}
    client.ask("POST", "/events/profiles", taken, body=profile, status=202)
    for _ in range(200):  # what serves follows the catalog within moments
        after = client.ask("GET", address, shape)
        left = {one["book_id"] for one in after["recommendations"]} if after else set()
        if chosen[1] not in left:
            break
    client.expect(chosen[1] not in left, "a book that has been sold out is still listed")
    client.expect(chosen[0] not in left, "a book that was bought is still listed")
    return client.asked, client.problems


REQUESTS: Mapping[str, Callable[[Client], tuple[int, Sequence[str]]]] = {
    "posts": ask_posts,
    "movies": ask_movies,
    "books": ask_books,
}
"""System → asks everything it documents."""

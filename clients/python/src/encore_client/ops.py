"""The service's operations, as values: `encore.run(ops.user_list("u1"))`, or with `await` on AsyncEncore.

One description serves both clients. `Op[T]` answers with a `T`; `encore.each(…)` follows the cursors of `Pages[T]`.
Keyword arguments of lists are those of the service (docs/openapi.json): `limit`, `explain`, `genre`, …
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from encore_client import models

T = TypeVar("T")
Event = models.VideoWatched | models.VideoRated | models.WatchlistUpdated | models.ItemInteracted
Repeatable = Literal["always", "refused"]
"""Whether the same request may be sent twice after an unclear failure, or only when it was refused (429)."""


@dataclass(frozen=True, slots=True)
class Op(Generic[T]):
    """One request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: Repeatable = "always"


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A listing: the first request, and where the entries are in an answer."""

    first: Op[Any]
    entries: Callable[[Any], Sequence[T]]

    def after(self, cursor: str) -> Op[Any]:
        """The request that continues at this cursor."""
        params = {name: value for name, value in self.first.params.items() if name != "offset"}
        return replace(self.first, params={**params, "cursor": cursor})


def _segment(name: str) -> str:
    return quote(name, safe="")


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def user_list(user_id: str, **query: Any) -> Op[models.ListAnswer]:
    """A page of a user's list. Asked again, an unchanged list is not sent again (ETag)."""
    return Op("GET", f"/api/v1/recs/{_segment(user_id)}", query)


def live_list(user_id: str, **query: Any) -> Op[None]:
    """The stream of a user's list: `encore.live_list(…)` reads it."""
    return Op("GET", f"/api/v1/recs/{_segment(user_id)}/stream", query)


def user_list_entries(user_id: str, **query: Any) -> Pages[models.Recommendation]:
    """Every line of a user's list. No item comes twice: a cursor carries the rest of its list."""
    return Pages(user_list(user_id, **query), lambda page: page["recommendations"])


def list_by_rules(user_id: str, rules: Sequence[Mapping[str, Any]], **body: Any) -> Op[models.ListAnswer]:
    """A user's list under rules of one's own: for services."""
    return Op("POST", f"/api/v1/recs/{_segment(user_id)}", json={"rules": list(rules), **body})


def session_list(history: Sequence[str | models.SessionItem], **body: Any) -> Op[models.ListAnswer]:
    """A list for somebody without an id: the history travels in the request, newest first."""
    return Op("POST", "/api/v1/recs/session", json={"history": list(history), **body})


def similar_items(item_id: str, **query: Any) -> Op[models.ListAnswer]:
    """Items like this one."""
    return Op("GET", f"/api/v1/items/{_segment(item_id)}/similar", query)


def popular_items(**query: Any) -> Op[models.ListAnswer]:
    """What most people use."""
    return Op("GET", "/api/v1/items/popular", query)


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_id(event: Event) -> Event:
    """The event with an id of its own unless it has one: it counts once however often it is sent."""
    if event.get("event_id"):
        return event
    identified = event.copy()
    identified["event_id"] = str(uuid.uuid4())
    return identified


def send_events(events: Sequence[Event]) -> Op[models.EventsAnswer]:
    """Send events now; the outcome of each comes back. Raises if none of them could be taken in."""
    return Op("POST", "/api/v1/events", json=[with_id(event) for event in events])


# ── catalog and users ──────────────────────────────────────────────────────────────────────────────────────────────


def get_item(item_id: str) -> Op[models.ItemAnswer]:
    """One entry of the catalog."""
    return Op("GET", f"/api/v1/items/{_segment(item_id)}")


def put_item(item_id: str, item: models.ItemBody) -> Op[models.ItemAnswer]:
    """Write an entry whole."""
    return Op("PUT", f"/api/v1/items/{_segment(item_id)}", json=item)


def patch_item(item_id: str, changes: models.ItemPatch) -> Op[models.ItemAnswer]:
    """Change some fields: what is absent stays, None empties."""
    return Op("PATCH", f"/api/v1/items/{_segment(item_id)}", json=changes)


def put_items(items: Sequence[models.BulkItem]) -> Op[models.BulkAnswer]:
    """Write many entries in one transaction, at most 1,000."""
    return Op("POST", "/api/v1/items/bulk", json={"items": list(items)})


def delete_item(item_id: str) -> Op[None]:
    """Take an item out of the catalog and of every list."""
    return Op("DELETE", f"/api/v1/items/{_segment(item_id)}")


def items(limit: int = 100) -> Pages[models.ItemAnswer]:
    """The whole catalog by item id."""
    return Pages(Op("GET", "/api/v1/items", {"limit": limit}), lambda page: page["items"])


def get_user(user_id: str) -> Op[models.UserAnswer]:
    """One profile."""
    return Op("GET", f"/api/v1/users/{_segment(user_id)}")


def put_user(user_id: str, user: models.UserBody) -> Op[models.UserAnswer]:
    """Write a profile whole."""
    return Op("PUT", f"/api/v1/users/{_segment(user_id)}", json=user)


def put_users(users: Sequence[models.BulkUser]) -> Op[models.BulkAnswer]:
    """Write many profiles in one transaction, at most 1,000."""
    return Op("POST", "/api/v1/users/bulk", json={"users": list(users)})


def delete_user(user_id: str) -> Op[models.ErasureAnswer]:
    """Forget a user: whatever they did, lists shown, and what is cached anywhere; `erasure` shows the rest."""
    return Op("DELETE", f"/api/v1/users/{_segment(user_id)}")


def erasure(erasure_id: str) -> Op[models.ErasureAnswer]:
    """How far an erasure is; once it is done, its certificate."""
    return Op("GET", f"/api/v1/erasures/{_segment(erasure_id)}")


def users(limit: int = 100) -> Pages[models.UserAnswer]:
    """All profiles by user id: for services."""
    return Pages(Op("GET", "/api/v1/users", {"limit": limit}), lambda page: page["users"])


# ── trainings and models ─────────────────────────────────────────────────────────────────────────────────────────────


def start_training(model_type: str, *, idempotency_key: str | None = None, **body: Any) -> Op[models.TrainingAnswer]:
    """Queue a training; a repetition starts no second. ConflictError names the one that runs."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Op("POST", "/api/v1/recs/train", json={"model_type": model_type, **body}, headers=headers)


def get_training(training_id: str) -> Op[models.TrainingAnswer]:
    """How far a training is, or how it ended."""
    return Op("GET", f"/api/v1/recs/train/{_segment(training_id)}")


def cancel_training(training_id: str) -> Op[models.TrainingAnswer]:
    """Ask a training to stop."""
    return Op("DELETE", f"/api/v1/recs/train/{_segment(training_id)}")


def trainings(limit: int = 100) -> Pages[models.TrainingAnswer]:
    """Trainings, newest first."""
    return Pages(Op("GET", "/api/v1/recs/train", {"limit": limit}), lambda page: page["trainings"])


def list_models(**query: Any) -> Op[models.ModelsAnswer]:
    """Model versions, newest first."""
    return Op("GET", "/api/v1/recs/models", query)


def get_model(model_id: str) -> Op[models.ModelAnswer]:
    """One version."""
    return Op("GET", f"/api/v1/recs/models/{_segment(model_id)}")


def promote_model(model_id: str) -> Op[models.ChampionAnswer]:
    """Make a version the champion. Not repeated after an unclear failure."""
    return Op("POST", f"/api/v1/recs/models/{_segment(model_id)}/promote", repeatable="refused")


def rollback_model(model_type: str = "hybrid") -> Op[models.ChampionAnswer]:
    """Go back to the version before. Not repeated after an unclear failure: that would go back two."""
    return Op("POST", "/api/v1/recs/models/rollback", json={"model_type": model_type}, repeatable="refused")


# ── experiments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def create_experiment(
    name: str, share: float, arms: Sequence[Mapping[str, Any]], **body: Any
) -> Op[models.ExperimentAnswer]:
    """A draft: nobody is in it until it is started. Not repeated after an unclear failure: that would make two."""
    content = {"name": name, "share": share, "arms": list(arms), **body}
    return Op("POST", "/api/v1/recs/experiments", json=content, repeatable="refused")


def get_experiment(experiment_id: str) -> Op[models.ExperimentAnswer]:
    """One experiment as it stands."""
    return Op("GET", f"/api/v1/recs/experiments/{_segment(experiment_id)}")


def change_experiment(experiment_id: str, **change: Any) -> Op[models.ExperimentAnswer]:
    """`status`, `share`, or both; with `revision` only if it is still the one you have seen."""
    path = f"/api/v1/recs/experiments/{_segment(experiment_id)}"
    return Op("PATCH", path, json=change, repeatable="refused")


def experiment_results(experiment_id: str) -> Op[models.ResultsAnswer]:
    """Which arm is better, at any time one looks."""
    return Op("GET", f"/api/v1/recs/experiments/{_segment(experiment_id)}/results")


def experiments(limit: int = 100) -> Pages[models.ExperimentAnswer]:
    """Experiments, newest first."""
    return Pages(Op("GET", "/api/v1/recs/experiments", {"limit": limit}), lambda page: page["experiments"])


def health() -> Op[models.Health]:
    """The state of the service. Raises UnavailableError while no list can be served."""
    return Op("GET", "/health/ready")

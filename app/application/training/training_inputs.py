"""What a training reads: a snapshot of the data, and what is known of the champion."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.application.artifacts.model_artifacts import LoadedModel, load_model
from app.application.evaluation.selection import Recipe
from app.application.training.comparison import ChampionSnapshot, Snapshot, TrainingPolicy, hold_out_start
from app.application.training.training_records import read_lineage, score_of
from app.domain.entities import Champion, EventColumns, Item, User
from app.domain.exceptions import ArtifactError, TrainingError
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import Recommenders
from app.domain.splits import select_rows
from app.domain.stores import CatalogStore, Database
from app.telemetry import get_logger

log = get_logger(__name__)

_PAGE = 2_000
_AHEAD = timedelta(days=1)
_MAX_FUTURE = 0.01
"""A few events of one wrong clock are noise; more than this are a wrong clock of ours."""


async def read_snapshot(
    database: Database, now: datetime | None = None, start: datetime | None = None, end: datetime | None = None
) -> Snapshot:
    """The interactions from `start` to `end`, the catalog, and the profiles that say anything.

    Events later than `now` (and a day) are left out: the newest event is the moment a model ranks for, and one of them
    would make all others old. Raises TrainingError if they are so many that a clock must be wrong.
    """
    columns = await database.interactions.columns(start, end)
    if now is not None:
        columns = _until(columns, now + _AHEAD)
    return Snapshot(columns, await _items(database.catalog), await _users(database.catalog))


def _until(columns: EventColumns, end: datetime) -> EventColumns:
    future = columns.occurred_at > end.timestamp()
    if not future.any():
        return columns
    share = float(future.mean())
    if share > _MAX_FUTURE:
        raise TrainingError(f"{share:.1%} of the events lie in the future: a clock is wrong")
    log.warning("future_events_ignored", events=int(future.sum()))
    return select_rows(columns, ~future)


async def _items(catalog: CatalogStore) -> list[Item]:
    items: list[Item] = []
    while page := await catalog.list_items(items[-1].item_id if items else None, _PAGE):
        items.extend(page)
    return items


async def _users(catalog: CatalogStore) -> list[User]:
    users: list[User] = []
    after = None
    while page := await catalog.list_users(after, _PAGE):
        users.extend(user for user in page if user.attributes)
        after = page[-1].user_id
    return users


async def read_incumbent(
    champion: Champion | None,
    snapshot: Snapshot,
    artifacts: ArtifactStore,
    recommenders: Recommenders,
    policy: TrainingPolicy,
) -> ChampionSnapshot | None:
    """The champion as the judging needs it; with its served model only where that has not seen the hold-out."""
    if champion is None:
        return None
    lineage = read_lineage(champion)
    unseen = lineage.window.last_event < hold_out_start(snapshot.columns, policy)
    return ChampionSnapshot(
        recipe=Recipe(lineage.recipe.name, lineage.recipe.parameters),
        last_event=lineage.window.last_event,
        interactions=lineage.window.interactions,
        items=lineage.window.items,
        score=score_of(champion.model, policy.gate.metric),
        served=await _served(champion, artifacts, recommenders) if unseen else None,
    )


async def _served(champion: Champion, artifacts: ArtifactStore, recommenders: Recommenders) -> LoadedModel | None:
    try:
        return await load_model(artifacts, champion.model, recommenders)
    except ArtifactError as error:
        # Safe: a champion that cannot be loaded is judged by its recipe, and `load_model` has counted the refusal.
        log.warning("champion_not_loadable", model_id=champion.model.model_id, problem=str(error))
        return None

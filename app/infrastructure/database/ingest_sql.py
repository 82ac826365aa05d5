"""The statements of an ingest, built once per dialect; the order in which they run is in ingest.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningDelete

from app.domain.entities import KINDS, Kind
from app.infrastructure.database.columns import EPOCH, UtcDateTime
from app.infrastructure.database.dialects import Dialect
from app.infrastructure.database.erasure_tables import graves
from app.infrastructure.database.staging import repeated, resolved, staged
from app.infrastructure.database.tables import event_ids, interactions, items, pair_states, users

KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
SLOT_CODES = {**KIND_CODES, Kind.DISLIKE: KIND_CODES[Kind.LIKE]}
"""Like and dislike are one state: the newest decides."""

_CONTENT = ("kind", "occurred_at", "value", "duration", "device")


@dataclass(frozen=True, slots=True)
class IngestSql:
    """Everything works on whole sets; the keys are visited in sorted order, so that two writers cannot deadlock."""

    drop_erased: ReturningDelete[int]
    claim_ids: sa.Insert
    set_aside: sa.Insert
    drop_set_aside: sa.Delete
    resolve: sa.Insert
    count_unknown: sa.Select[int, int]
    add_users: sa.Insert
    find_users: sa.Update
    add_items: sa.Insert
    find_items: sa.Update
    add_interactions: sa.Insert
    merge_alone: sa.Insert
    merge_all: sa.Insert
    verdicts: sa.Select[int, bool]


def build(dialect: Dialect) -> IngestSql:
    """The statements for one dialect."""
    return IngestSql(
        drop_erased=_drop_erased(dialect),
        claim_ids=_claim_ids(dialect),
        set_aside=_copy(repeated, staged, sa.not_(_is_claimed())),
        drop_set_aside=sa.delete(staged).where(staged.c.position.in_(sa.select(repeated.c.position))),
        resolve=_resolve(),
        count_unknown=sa.select(_without(resolved.c.user_key), _without(resolved.c.item_key)),
        add_users=_add_users(dialect),
        find_users=_find(resolved.c.user_key, users.c.user_key, users.c.user_id == resolved.c.user_id),
        add_items=_add_items(dialect),
        find_items=_find(resolved.c.item_key, items.c.item_key, items.c.item_id == resolved.c.item_id),
        add_interactions=_copy(interactions, resolved),
        merge_alone=_merge(dialect, _alone().order_by(*_PAIR)),
        merge_all=_merge(dialect, _all()),
        verdicts=_verdicts(),
    )


def _copy(target: sa.Table, source: sa.Table, *where: sa.ColumnElement[bool]) -> sa.Insert:
    names = [column.name for column in target.c]
    return sa.insert(target).from_select(names, sa.select(*(source.c[name] for name in names)).where(*where))


def _is_claimed() -> sa.ColumnElement[bool]:
    mine = (event_ids.c.event_id == staged.c.event_id) & (event_ids.c.sequence == staged.c.sequence)
    return sa.exists().where(mine)


def _without(key: sa.Column[Any]) -> sa.ColumnElement[int]:
    return sa.func.count() - sa.func.count(key)


def _find(key: sa.Column[Any], known: sa.Column[Any], same: sa.ColumnElement[bool]) -> sa.Update:
    """The keys that the rows without one have by now."""
    return sa.update(resolved).values({key: sa.select(known).where(same).scalar_subquery()}).where(key.is_(None))


def _drop_erased(dialect: Dialect) -> ReturningDelete[int]:
    """What users did before they were erased; gives the positions back. Where nobody ever was, nothing is hashed."""
    erased = (graves.c.digest == dialect.digest(staged.c.user_id)) & (staged.c.occurred_at <= graves.c.until)
    anybody = sa.exists(sa.select(sa.literal(1)).select_from(graves.alias("anybody")))
    return sa.delete(staged).where(anybody, sa.exists().where(erased)).returning(staged.c.position)


def _claim_ids(dialect: Dialect) -> sa.Insert:
    """Of several with one event_id the first claims it, whether they meet in this batch or in two transactions."""
    rows = sa.select(staged.c.event_id, staged.c.sequence, staged.c.occurred_at).order_by(
        staged.c.event_id, staged.c.sequence
    )
    insert = dialect.insert(event_ids).from_select(["event_id", "sequence", "occurred_at"], rows)
    return insert.on_conflict_do_nothing()


def _add_users(dialect: Dialect) -> sa.Insert:
    rows = (
        sa.select(
            resolved.c.user_id,
            sa.literal({}, sa.JSON),
            sa.literal("", sa.Text),
            sa.literal(EPOCH, UtcDateTime),
        )
        .where(resolved.c.user_key.is_(None))
        .group_by(resolved.c.user_id)
        .order_by(resolved.c.user_id)
    )
    insert = dialect.insert(users).from_select(["user_id", "attributes", "fingerprint", "updated_at"], rows)
    return insert.on_conflict_do_nothing()


def _add_items(dialect: Dialect) -> sa.Insert:
    defaults: dict[str, sa.ColumnElement[object]] = {
        "revision": sa.literal(0, sa.BigInteger),
        "removed": sa.literal(False, sa.Boolean),
        "fingerprint": sa.literal("", sa.Text),
        "genres": sa.literal([], sa.JSON),
        "tags": sa.literal([], sa.JSON),
        "available": sa.literal(True, sa.Boolean),
        "attributes": sa.literal({}, sa.JSON),
    }
    rows = (
        sa.select(resolved.c.item_id, *defaults.values())
        .where(resolved.c.item_key.is_(None))
        .group_by(resolved.c.item_id)
        .order_by(resolved.c.item_id)
    )
    return dialect.insert(items).from_select(["item_id", *defaults], rows).on_conflict_do_nothing()


def _resolve() -> sa.Insert:
    """Nearly everybody is known: one look finds them, and what is done about the others costs only for them."""
    same = ("sequence", "user_id", "item_id", "kind", "is_alone", "occurred_at", "event_id", *_CONTENT[2:])
    rows = (
        sa.select(
            users.c.user_key, items.c.item_key, slot_of(staged), strength_of(staged), *(staged.c[name] for name in same)
        )
        .join_from(staged, users, users.c.user_id == staged.c.user_id, isouter=True)
        .join(items, items.c.item_id == staged.c.item_id, isouter=True)
    )
    return sa.insert(resolved).from_select(["user_key", "item_key", "slot", "strength", *same], rows)


def slot_of(table: sa.Table) -> sa.ColumnElement[int]:
    """The slot of a row's kind."""
    shared = {KIND_CODES[kind]: slot for kind, slot in SLOT_CODES.items() if KIND_CODES[kind] != slot}
    return sa.case(shared, value=table.c.kind, else_=table.c.kind)


def strength_of(table: sa.Table) -> sa.ColumnElement[float]:
    """What `peak` is the maximum of: the watched ratio (0–1) for watch, else the value, 1.0 where there is none."""
    value, duration = table.c.value, table.c.duration
    return sa.case(
        (value.is_(None), 1.0),
        (table.c.kind != KIND_CODES[Kind.WATCH], value),
        (duration.is_(None) | (duration == 0) | (value >= duration), 1.0),
        else_=value / duration,
    )


_PAIR = (resolved.c.user_key, resolved.c.item_key, resolved.c.slot)


def _alone() -> sa.Select[*tuple[object, ...]]:
    """A pair_states row of each pair that this batch has one event of: most of them, and sorting is all it costs."""
    peak, count = resolved.c.strength.label("peak"), sa.literal(1, sa.BigInteger).label("count")
    columns = [peak if c.name == "peak" else count if c.name == "count" else resolved.c[c.name] for c in pair_states.c]
    return sa.select(*columns).where(resolved.c.is_alone)


def _crowded() -> sa.Select[*tuple[object, ...]]:
    """One pair_states row of each pair that this batch has several events of."""

    def so_far(function: sa.FunctionElement[Any]) -> sa.Over[Any]:  # one window, so that the rows are sorted once
        return function.over(partition_by=_PAIR, order_by=(resolved.c.occurred_at, resolved.c.event_id))

    running = (
        sa.select(
            *resolved.c,
            so_far(sa.func.lead(1, 1, 0)).label("has_newer"),
            so_far(sa.func.max(resolved.c.strength)).label("peak"),
            so_far(sa.func.count()).label("count"),
        )
        .where(~resolved.c.is_alone)
        .subquery()
    )
    return sa.select(*(running.c[column.name] for column in pair_states.c)).where(running.c.has_newer == 0)


def _all() -> sa.Select[*tuple[object, ...]]:
    """Both in one order: a pair that is alone in one batch may be crowded in another that is written beside it."""
    both = sa.union_all(_alone(), _crowded()).subquery()
    return sa.select(*both.c).order_by(both.c.user_key, both.c.item_key, both.c.slot)


def _merge(dialect: Dialect, states: sa.Select[*tuple[object, ...]]) -> sa.Insert:
    """Newest by (occurred_at, event_id) wins, peaks by maximum, counts by sum: any order gives the same state."""
    insert = dialect.insert(pair_states).from_select([column.name for column in pair_states.c], states)
    new, old = insert.excluded, pair_states.c
    is_newer = sa.tuple_(new["occurred_at"], new["event_id"]) > sa.tuple_(old.occurred_at, old.event_id)
    latest = ("kind", "value", "duration", "occurred_at", "event_id")
    return insert.on_conflict_do_update(
        index_elements=list(pair_states.primary_key),
        set_={
            **{name: sa.case((is_newer, new[name]), else_=old[name]) for name in latest},
            "peak": sa.case((new["peak"] > old.peak, new["peak"]), else_=old.peak),
            "count": old["count"] + new["count"],
        },
    )


def _verdicts() -> sa.Select[int, bool]:
    """(position, is it the same event) of each repeated row, compared with the one that came first."""
    same = [
        users.c.user_id == repeated.c.user_id,
        items.c.item_id == repeated.c.item_id,
        *(interactions.c[name].is_not_distinct_from(repeated.c[name]) for name in _CONTENT if name != "device"),
        # an empty name was stored as such once
        sa.func.coalesce(interactions.c.device, "") == sa.func.coalesce(repeated.c.device, ""),
    ]
    stored = (event_ids.c.sequence == interactions.c.sequence) & (event_ids.c.occurred_at == interactions.c.occurred_at)
    return (
        sa.select(repeated.c.position, sa.and_(*same))
        .join_from(repeated, event_ids, event_ids.c.event_id == repeated.c.event_id)
        .join(interactions, stored)
        .join(users, users.c.user_key == interactions.c.user_key)
        .join(items, items.c.item_key == interactions.c.item_key)
    )

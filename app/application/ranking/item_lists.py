"""Lists that belong to nobody: what is like an item, and what is popular. Pure computation, run in a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.application.ranking.list_ranking import SCORE_DIGITS, ranking_time
from app.application.ranking.serving_state import PRIORS, SOURCES, ServingState
from app.domain.dataset import Histories
from app.domain.list_query import Filters
from app.domain.ranked_list import RankedList
from app.domain.recommender import MEMBER_OF_TYPE, Blended, Neighbourhood, Recommender, Tower
from app.domain.top_k import top_k

EVERYTHING = Filters()


def similar_list(serving: ServingState, position: int, size: int, now: datetime) -> RankedList:
    """Items like the one at `position`, by all members that can tell.

    A tower compares by cosine, any other member by what it would recommend to somebody who knows that item alone; each
    is brought to mean 0 and deviation 1 over the catalog, then they are averaged. Of an item that has neither features
    nor likes nothing can be like it: the popular items then, as a fallback.
    """
    allowed = serving.allowed(EVERYTHING, now)
    allowed[position] = False
    positions = np.flatnonzero(allowed).astype(np.int32)
    total, names = np.zeros(len(positions), dtype=np.float32), []
    for name, member in _tellers(serving.recommender):
        likeness = _likeness(member, position, now)[positions]
        spread = float(likeness.std())
        if spread > 0:
            total += (likeness - likeness.mean()) / spread
            names.append(name)
    if not names or not _is_known(serving.recommender, position):
        unlike = popular_list(serving, EVERYTHING, size, now, without=position)
        return unlike if serving.model is None else unlike.as_fallback("item_unknown_to_model")
    rows = top_k(total, positions, serving.view.ids.ids, size)
    source = SOURCES.get(names[0], names[0]) if len(names) == 1 else "hybrid"
    return _list(positions[rows], (total[rows] / len(names)).astype(np.float32), source, None, now)


def popular_list(
    serving: ServingState, filters: Filters, size: int, now: datetime, without: int | None = None
) -> RankedList:
    """The most popular items by the model's own figures, or by the database's count where there is no model.

    `without`: the position of one that shall not be among them.
    """
    member, reason = serving.answering("popular")
    scorer = member or serving.popularity_fallback
    if scorer is None:
        return RankedList(now.timestamp(), np.inf, "no_model")
    nobody = Histories.single([], [], [], ranking_time(now).timestamp())
    allowed = serving.allowed(filters, now)
    if without is not None:
        allowed[without] = False
    positions = np.flatnonzero(allowed).astype(np.int32)
    scores = scorer.score(nobody)[0][positions]
    rows = top_k(scores, positions, serving.view.ids.ids, size)
    fallback = "no_model" if serving.model is None else reason
    return _list(positions[rows], scores[rows], "popular", fallback, now)


def counted_list(
    serving: ServingState, counts: Sequence[tuple[str, float]], filters: Filters, size: int, now: datetime
) -> RankedList:
    """The items used by most people in a window, as the database counted; those the catalog does not know are left
    out."""
    allowed = serving.allowed(filters, now)
    known = [(serving.view.ids.position(item_id), users) for item_id, users in counts]
    shown = [(position, users) for position, users in known if position is not None and allowed[position]]
    positions = np.array([position for position, _users in shown], dtype=np.int32)
    scores = np.array([users for _position, users in shown], dtype=np.float32)
    rows = top_k(scores, positions, serving.view.ids.ids, size)
    return _list(positions[rows], scores[rows], "popular", None, now)


def _list(
    positions: NDArray[np.int32], scores: NDArray[np.float32], source: str, fallback: str | None, now: datetime
) -> RankedList:
    sources = np.zeros(len(positions), dtype=np.uint8)
    return RankedList(
        now.timestamp(), np.inf, fallback, None, positions, np.round(scores, SCORE_DIGITS), sources, (source,)
    )


def _is_known(recommender: Recommender | None, position: int) -> bool:
    """Whether anybody liked the item, or it has features; True where no member can tell.

    Factors of such an item are what is typical of all: every item is somewhat like that.
    """
    members = _members(recommender)
    told = [known for name, member in members.items() if (known := _knows(name, member, position)) is not None]
    return any(told) or not told


def _knows(name: str, member: Recommender, position: int) -> bool | None:
    if name in PRIORS:
        nobody = Histories.single([], [], [], 0.0)
        return bool(member.score(nobody, np.array([position], dtype=np.int32))[0, 0] > 0)
    if isinstance(member, Neighbourhood):
        return bool(member.neighbours.indptr[position + 1] > member.neighbours.indptr[position])
    if name == MEMBER_OF_TYPE["content"] and isinstance(member, Tower):
        return bool(member.item_vectors[position].any())
    return None


def _members(recommender: Recommender | None) -> Mapping[str, Recommender]:
    if recommender is None:
        return {}
    return recommender.members if isinstance(recommender, Blended) else {recommender.name: recommender}


def _tellers(recommender: Recommender | None) -> Iterator[tuple[str, Recommender]]:
    members = _members(recommender)
    personal = {name: member for name, member in members.items() if name not in PRIORS}
    # What people do together says more than what things are made of; both together say most about new items.
    yield from sorted(personal.items(), key=lambda entry: entry[0] == MEMBER_OF_TYPE["content"])


def _likeness(member: Recommender, position: int, now: datetime) -> NDArray[np.float32]:
    """(n_items,) how like each item is to the one at `position`."""
    if isinstance(member, Tower):
        vectors = member.item_vectors
        lengths = np.sqrt(np.einsum("nf,nf->n", vectors, vectors))
        products = vectors @ vectors[position]
        return np.asarray(products / np.maximum(lengths * lengths[position], 1e-12), dtype=np.float32)
    moment = ranking_time(now).timestamp()
    return np.asarray(member.score(Histories.single([position], [1.0], [moment], moment))[0])

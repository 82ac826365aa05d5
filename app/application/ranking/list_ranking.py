"""From a history to a ranked list: pure computation on one Serving, run in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.application.ranking.candidate_generation import PER_SOURCE
from app.application.ranking.serving_state import SOURCES, ServingState
from app.domain.dataset import Histories
from app.domain.entities import User
from app.domain.features import encode_users
from app.domain.keys import key_text
from app.domain.list_query import Filters
from app.domain.ranked_list import RankedList
from app.domain.recommender import Blended, Scorer, Tower
from app.domain.reranking import (
    ExplorationSlot,
    RerankCandidates,
    apply_boosts,
    apply_exploration,
    rerank,
    resolve_rules,
)
from app.domain.rules import DEFAULT_RERANK, RerankOptions
from app.telemetry import stage

History = Sequence[tuple[str, float, float]]
"""(item_id, weight, Unix time), newest first: what `signals.history_of` gives."""

SCORE_DIGITS = 6
"""Decimals of a score that people see; float32 has about as many, so a restart shows the same."""

PLACEMENT_SOURCES = ("pinned", "explored")
"""Sources of items that stand where they stand for another cause than their score."""

ALL_SEEN = "all_seen"
"""Fallback reason of an empty list whose person has seen, or disliked, whatever might have been in it."""

MIN_SHARE = 0.2
"""Below this share of items that may be shown, scoring those alone is cheaper than scoring all."""


@dataclass(frozen=True, slots=True)
class RankingTask:
    """What to rank, for whom. `size` is how many items the list shall have; `seed` draws what it explores.

    `user_id` is empty where the list is not one person's own.
    """

    type: str
    filters: Filters
    history: History
    size: int
    profile: User | None = None
    shape: RerankOptions = DEFAULT_RERANK
    seed: str = ""
    user_id: str = ""


def ranking_time(now: datetime) -> datetime:
    """The end of the day: ages in days matter, and a list must not change from minute to minute for nothing."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def single_history(serving: ServingState, history: History, now: datetime, profile: User | None = None) -> Histories:
    """A batch of one: the entries whose items the model or the catalog knows."""
    known = [(serving.view.ids.position(item_id), weight, time) for item_id, weight, time in history]
    entries = [(position, weight, time) for position, weight, time in known if position is not None]
    names = serving.user_feature_names
    return Histories.single(
        [position for position, _weight, _time in entries],
        [weight for _position, weight, _time in entries],
        [time for _position, _weight, time in entries],
        ranking_time(now).timestamp(),
        encode_users([profile], names) if names else None,
    )


Ranker = Callable[[ServingState, RankingTask, datetime], RankedList]
"""`rank_list`, or what counts or compares beside it. Blocking: run in a thread."""


def rank_list(serving: ServingState, task: RankingTask, now: datetime) -> RankedList:
    """Rank for one history. Deterministic; fewer items than `task.size` only if no more may be shown."""
    recommender, reason = serving.answering(task.type)
    scorer = recommender or serving.popularity_fallback
    if scorer is None:
        return RankedList(now.timestamp(), np.inf, "no_model")
    with stage("candidates"):
        history, at = single_history(serving, task.history, now, task.profile), now.timestamp()
        rules = serving.rules.merged_with(resolve_rules(task.shape.rules, serving.view))
        showable = _showable(serving, task, now)
        for hidden in rules.hidden_at(at):
            showable[hidden] = False
        excludes_seen = serving.excludes_seen if task.filters.exclude_seen is None else task.filters.exclude_seen
        allowed = _not_refused(showable, history, excludes_seen=excludes_seen)
        proposed = _proposed(serving, scorer, history, allowed, task.size, rules.promoted(at, PER_SOURCE))
    with stage("score"):
        positions, parts = _scored(scorer, history, allowed, proposed)
        total = _total(parts, len(positions))
    with stage("rerank"):
        diversity = serving.ranking_policy.diversity if task.shape.diversity is None else task.shape.diversity
        vectors = similarity_vectors(scorer) if diversity else None
        found = RerankCandidates(
            serving.view, positions, apply_boosts(total, positions, rules, len(serving.view), at), vectors
        )
        order = rerank(found, task.size, diversity, rules, at)
        seed = key_text(task.seed, round(history.now))
        rows, slot = apply_exploration(found, order, task.size, serving.ranking_policy.exploration, rules, seed)
    names = tuple(SOURCES.get(name, name) for name in parts) or (SOURCES.get(scorer.name, scorer.name),)
    return RankedList(
        as_of=at,
        good_until=min(_good_until(serving, positions[rows]), rules.next_change_after(at)),
        fallback=_why_empty(serving, showable)
        if not len(rows)
        else reason or _why_not_personal(serving, task, history),
        positions=positions[rows],
        scores=np.round(total[rows], SCORE_DIGITS),
        sources=_sources(parts, rows, order.pinned[: len(rows)], slot, len(names)),
        source_names=(*names, *PLACEMENT_SOURCES),
        slot=slot.row,
        propensity=slot.propensity,
    )


def _total(parts: Mapping[str, NDArray[np.float32]], n: int) -> NDArray[np.float32]:
    """(n,) the score: the sum of the parts."""
    total = np.zeros(n, dtype=np.float32)
    for part in parts.values():
        total += part
    return total


def similarity_vectors(scorer: Scorer) -> NDArray[np.float32] | None:
    """(n_items, f) by which items are told apart: of the scorer itself, or of the first tower of a blend."""
    members = scorer.members.values() if isinstance(scorer, Blended) else (scorer,)
    return next((member.item_vectors for member in members if isinstance(member, Tower)), None)


def _sources(
    parts: Mapping[str, NDArray[np.float32]],
    rows: NDArray[np.intp],
    pinned: NDArray[np.bool_],
    slot: ExplorationSlot,
    n: int,
) -> NDArray[np.uint8]:
    """(len(rows),) who put each item there: one of the n names of the parts, then those of PLACED."""
    sources = _strongest(parts, rows)
    sources[pinned] = n
    if slot.is_drawn:
        sources[slot.row] = n + 1
    return sources


def _strongest(parts: Mapping[str, NDArray[np.float32]], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """(len(rows),) which part gives most to each item."""
    if not parts:
        return np.zeros(len(rows), dtype=np.uint8)
    return np.asarray(np.argmax([part[rows] for part in parts.values()], axis=0), dtype=np.uint8)


def _why_not_personal(serving: ServingState, task: RankingTask, history: Histories) -> str | None:
    if serving.model is None:
        return "no_model"
    if task.type == "popular" or (history.weights > 0).any():
        return None
    if len(history.items):
        return "no_likes"
    return "history_unknown_to_model" if task.history else "no_history"


def _why_empty(serving: ServingState, showable: NDArray[np.bool_]) -> str:
    if showable.any():
        return ALL_SEEN
    return "no_model" if serving.model is None else "nothing_matches"


def _showable(serving: ServingState, task: RankingTask, now: datetime) -> NDArray[np.bool_]:
    """(n,) what may be shown to somebody of whom nothing is known."""
    showable = serving.allowed(task.filters, now)
    showable[serving.view.ids.positions(task.filters.exclude)] = False
    return showable


def _not_refused(showable: NDArray[np.bool_], history: Histories, *, excludes_seen: bool) -> NDArray[np.bool_]:
    """… and to this person: nothing disliked, whatever else is asked for, and nothing seen unless that is asked for."""
    allowed = showable.copy()
    allowed[history.items if excludes_seen else history.items[history.weights < 0]] = False
    return allowed


def _proposed(
    serving: ServingState,
    scorer: Scorer,
    history: Histories,
    allowed: NDArray[np.bool_],
    size: int,
    wanted: NDArray[np.int32],
) -> NDArray[np.int32] | None:
    """The positions worth scoring, where all that may be shown are too many; None: score them all."""
    if serving.candidates is None or np.count_nonzero(allowed) <= serving.candidates.direct_below:
        return None
    excluded = np.flatnonzero(~allowed).astype(np.int32)
    proposed = serving.candidates.propose(scorer, history, PER_SOURCE, _near(excluded, history))
    proposed = np.union1d(proposed, wanted) if len(wanted) else proposed
    proposed = proposed[allowed[proposed]]
    return proposed if len(proposed) >= size else None


def _scored(
    scorer: Scorer, history: Histories, allowed: NDArray[np.bool_], proposed: NDArray[np.int32] | None
) -> tuple[NDArray[np.int32], Mapping[str, NDArray[np.float32]]]:
    """(positions that may be shown, what each member gives to each of them)."""
    if proposed is not None:
        return proposed, _parts(scorer, history, proposed)
    positions = np.flatnonzero(allowed).astype(np.int32)
    if len(positions) < MIN_SHARE * len(allowed):
        return positions, _parts(scorer, history, positions)
    return positions, {name: part[positions] for name, part in _parts(scorer, history, None).items()}


def _near(excluded: NDArray[np.int32], history: Histories) -> NDArray[np.int32]:
    """What the vector search must leave out: everything that is hidden if that is little, else what was seen.

    A search looks as much further as it leaves out; where filters hide most of a large catalog, what remains is
    scored directly.
    """
    return excluded if len(excluded) <= 4 * PER_SOURCE else history.items


def _parts(scorer: Scorer, history: Histories, items: NDArray[np.int32] | None) -> Mapping[str, NDArray[np.float32]]:
    """Member → (n,) its part of the score."""
    if isinstance(scorer, Blended):
        return {name: part[0] for name, part in scorer.shares(history, items).items()}
    return {scorer.name: scorer.score(history, items)[0]}


def _good_until(serving: ServingState, positions: NDArray[np.int32]) -> float:
    """When the first item of the list closes."""
    return float(serving.view.closes[positions].min(initial=np.inf))

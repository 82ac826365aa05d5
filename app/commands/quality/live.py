"""Q5–Q7: new users, events as they come, and the value of a policy from another one's logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, process_time

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.pipeline import train
from app.application.evaluation.top_lists import hits_of, top_lists
from app.commands.quality import data
from app.commands.quality.protocols import Figures, ProtocolResult, columns_of, dataset_of, outcome_of, popularity_of
from app.domain import metrics, off_policy
from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import InputError
from app.domain.features import encode_users
from app.domain.recommender import ProgressCallback, Recommender, Scorer
from app.models import RECOMMENDERS

_GIVEN = (0, 1, 3, 5, 10)
_WANTED = 20
_STREAMED_USERS, _STREAMED_EVENTS, _LATE, _UPDATES = 400, 40, 5, 200
_MINUTE = 60.0


def histories_of(sequences: Sequence[NDArray[np.int64]], start: float, now: float) -> Histories:
    """Histories of likes from item positions, oldest first, a minute apart from `start` on; -1 is passed over."""
    sequences = [one[one >= 0] for one in sequences]
    lengths = np.array([len(one) for one in sequences])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    backwards = [one[::-1] for one in sequences]
    times = [start + _MINUTE * np.arange(len(one))[::-1] for one in sequences]
    items = np.concatenate(backwards) if len(sequences) else np.empty(0)
    weights = np.ones(len(items), dtype=np.float32)
    return Histories(indptr, items.astype(np.int32), weights, np.concatenate(times).astype(np.float64), now)


def _sequences(pairs: data.Pairs, column: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Item positions of every user, oldest first."""
    return np.split(column[pairs.item], np.flatnonzero(np.diff(pairs.user)) + 1)


def _unseen(n_users: int) -> NDArray[np.int64]:
    """The last fifth of the users in random order: the first four fifths are trained on."""
    return np.sort(np.random.default_rng(0).permutation(n_users)[-(n_users // 5) :])


def new_users(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q5: 20 % of the users are unseen; from their first k events, rank for the next 20."""
    movies = data.movielens()
    unseen = _unseen(movies.pairs.n_users)
    dataset = dataset_of(movies.pairs.events(~np.isin(movies.pairs.user, unseen)), movies.items, movies.users)
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    sequences = _sequences(movies.pairs, columns_of(dataset, movies.pairs.n_items))
    scorers: dict[str, Scorer] = {
        "": trained.recommender,
        "popularity": popularity_of(dataset, progress),
        "fold-in": _plain(dataset, seed, progress),
    }
    found: dict[str, Figures] = {name: {} for name in scorers}
    for k in _GIVEN:
        shown, right = _first(movies, dataset, [sequences[user] for user in unseen], unseen, k)
        for name, scorer in scorers.items():
            hits = hits_of(top_lists(scorer, shown, _WANTED)[0], right)
            values = metrics.ndcg(hits, np.diff(right.indptr).astype(np.int64), _WANTED)
            found[name][f"ndcg@20 k={k}"] = float(values.mean())
    return outcome_of(trained, found.pop(""), found, began)


def _plain(dataset: Dataset, seed: int, progress: ProgressCallback) -> Recommender:
    """Collaborative factors alone, folded in."""
    plain = RECOMMENDERS.build("ials", {"alpha": 0.1, "regularization": 0.01})
    plain.fit(dataset, seed=seed, progress=progress)
    return plain


def _first(
    movies: data.MovieLens, dataset: Dataset, sequences: Sequence[NDArray[np.int64]], users: NDArray[np.int64], k: int
) -> tuple[Histories, sp.csr_matrix]:
    """(histories of the first k events, (n_users, n_items) the next 20)."""
    now = dataset.histories.now
    shown = histories_of([one[:k] for one in sequences], now - _MINUTE * k, now)
    if dataset.user_features is not None:
        profiles = {user.user_id: user for user in movies.users}
        told = encode_users([profiles.get(str(user)) for user in users], dataset.user_features.names)
        shown = replace(shown, profiles=told)
    wanted = [np.setdiff1d(one[k : k + _WANTED], [-1]) for one in sequences]
    rows = np.repeat(np.arange(len(wanted)), [len(one) for one in wanted])
    ones = np.ones(len(rows), dtype=bool)
    return shown, sp.csr_matrix((ones, (rows, np.concatenate(wanted))), shape=(len(wanted), dataset.n_items))


def streaming(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q6: train on the first 70 % of each user; before each later event of 400 users, rank from what is known by then.

    immediate: every event before; late: all but the newest five; frozen: the training events only.
    """
    pairs = data.movielens_sequences()
    lengths = np.bincount(pairs.user)
    assert pairs.position is not None, "the data are sequences"
    trained_on = pairs.position < np.floor(lengths[pairs.user] * 0.7)
    dataset = dataset_of(pairs.events(trained_on))
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    sequences = _sequences(pairs, columns_of(dataset, pairs.n_items))
    users = np.sort(np.random.default_rng(0).permutation(pairs.n_users)[:_STREAMED_USERS])
    known = {item for item in range(pairs.n_items) if str(item) in dataset.items}
    figures: Figures = {}
    for name, delay in {"immediate": 0, "5 late": _LATE, "frozen": pairs.n_items}.items():
        hits = [_streamed(trained.recommender, sequences[user], delay, dataset, lengths[user]) for user in users]
        figures[f"hr@10 {name}"] = float(np.concatenate(hits).mean())
    figures["ms per update"] = _update_milliseconds(trained.recommender, dataset, sequences)
    figures["known items"] = len(known) / pairs.n_items
    return outcome_of(trained, figures, {}, began)


def _streamed(
    scorer: Scorer, sequence: NDArray[np.int64], delay: int, dataset: Dataset, length: int
) -> NDArray[np.bool_]:
    """(n events,) was the event in the ten best of the unseen items, ranked from what came `delay` events before it?"""
    begin = int(np.floor(length * 0.7))
    places = range(begin, min(len(sequence), begin + _STREAMED_EVENTS))
    if not len(places):
        return np.zeros(0, dtype=bool)
    now = dataset.histories.now
    shown = histories_of([sequence[: max(begin, place - delay)] for place in places], now - _MINUTE * length, now)
    seen = histories_of([sequence[:place] for place in places], now - _MINUTE * length, now).matrix(dataset.n_items)
    lists, _ = top_lists(scorer, shown, 10, hidden=seen)
    target = sequence[list(places)][:, None]
    return np.asarray(((lists == target) & (target >= 0)).any(axis=1))


def _update_milliseconds(scorer: Recommender, dataset: Dataset, sequences: Sequence[NDArray[np.int64]]) -> float:
    """CPU milliseconds from one more event to all scores of one user, mean over 200 updates."""
    one = sequences[0][:50]
    shown = [histories_of([np.append(one, item)], 0.0, dataset.histories.now) for item in range(_UPDATES)]
    before = process_time()
    for history in shown:
        scorer.score(history)
    return (process_time() - before) * 1_000.0 / len(shown)


def off_policy_value(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q7: the click rate of BTS from the logs of the uniform policy, beside what BTS really had."""
    logs, target = data.open_bandit("random"), data.open_bandit("bts")
    began = monotonic()
    n_items = int(max(logs.item.max(), target.item.max())) + 1
    chances = _action_chances(target, n_items)
    rates = _click_rates(logs, n_items)
    value = off_policy.estimate(
        logs.click,
        logs.propensity,
        chances[logs.position - 1, logs.item],
        predicted_shown=rates[logs.position - 1, logs.item],
        predicted_target=(chances * rates).sum(axis=1)[logs.position - 1],
        seed=seed,
    )
    figures: Figures = {"effective sample size": value.effective_sample_size, "on-policy": float(target.click.mean())}
    for name, one in {"ips": value.ips, "snips": value.snips, "dr": value.doubly_robust}.items():
        figures |= {name: one.value, f"{name} low": one.low, f"{name} high": one.high}
    figures["refuses without propensities"] = float(_refuses(logs))
    return ProtocolResult(figures, rank_seconds=monotonic() - began)


def _action_chances(logs: data.Impressions, n_items: int) -> NDArray[np.float64]:
    """(positions, n_items) how often the policy showed an item at a position: its own action distribution."""
    counts = np.zeros((int(logs.position.max()), n_items))
    np.add.at(counts, (logs.position - 1, logs.item), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _click_rates(logs: data.Impressions, n_items: int) -> NDArray[np.float64]:
    """(positions, n_items) click rate by item, shrunk towards the mean by 100 impressions."""
    rate = off_policy.shrunk_rates(logs.item, logs.click, n_items)
    return np.tile(rate, (int(logs.position.max()), 1))


def _refuses(logs: data.Impressions) -> bool:
    nothing = np.zeros(len(logs.click))
    try:
        off_policy.estimate(logs.click, None, nothing, predicted_shown=nothing, predicted_target=nothing)
    except InputError:
        return True
    return False

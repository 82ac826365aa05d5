"""Cutting events and histories into what a model may learn from and what it is judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.entities import EventColumns
from app.domain.exceptions import NotEnoughDataError


def select_rows(columns: EventColumns, keep: NDArray[np.bool_]) -> EventColumns:
    """The events where `keep` is true; ids stay as they are."""
    return replace(
        columns,
        user=columns.user[keep],
        item=columns.item[keep],
        kind=columns.kind[keep],
        value=columns.value[keep],
        duration=columns.duration[keep],
        occurred_at=columns.occurred_at[keep],
    )


def time_split(columns: EventColumns, test_fraction: float) -> tuple[EventColumns, EventColumns]:
    """(train, test): everything before one moment, and the newest `test_fraction` of the events from then on.

    Where all events carry the same time, the last events of each user (in their order) are the test instead. Raises
    NotEnoughDataError if either side would be empty.
    """
    is_test = _newest(columns, test_fraction)
    if is_test.all() or not is_test.any():
        raise NotEnoughDataError("too few events to keep some of them for the test")
    return select_rows(columns, ~is_test), select_rows(columns, is_test)


def _newest(columns: EventColumns, fraction: float) -> NDArray[np.bool_]:
    times = columns.occurred_at
    if not len(times):
        return np.zeros(0, dtype=np.bool_)
    if times.min() < times.max():
        cut = np.quantile(times, 1.0 - fraction, method="higher")
        cut = cut if cut > times.min() else np.min(times[times > times.min()])
        return np.asarray(times >= cut, dtype=np.bool_)
    counts = np.bincount(columns.user)
    rank = np.arange(len(times)) - (np.cumsum(counts) - counts)[columns.user]
    kept = np.ceil(counts * (1.0 - fraction)).astype(np.int64)
    return np.asarray(rank >= kept[columns.user], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Cut:
    """A training set without some of its pairs, and those pairs: `targets` has one row per user of `train`."""

    train: Dataset
    targets: Histories
    by_time: bool


def validation_cut(dataset: Dataset, *, fraction: float = 0.1, limit: int = 5, seed: int = 0) -> Cut:
    """Hold out a few positive pairs of each user with at least two: the newest if times tell, else random ones.

    Per user `fraction` of the pairs are held out, at least one and at most `limit`.
    """
    histories = dataset.histories
    by_time = has_informative_timestamps(histories)
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    positive = histories.weights > 0
    key = -histories.times if by_time else np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((key, ~positive, rows))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - histories.indptr[:-1][rows[order]]
    n_positive = np.bincount(rows[positive], minlength=len(histories))
    quota = np.clip(np.round(n_positive * fraction), 1, limit)
    quota = np.where(n_positive >= 2, quota, 0)
    held = positive & (rank < quota[rows])
    return Cut(replace(dataset, histories=keep_entries(histories, ~held)), keep_entries(histories, held), by_time)


def window_cut(dataset: Dataset, fraction: float, *, limit: int = 20) -> Cut:
    """Hold out the newest `fraction` of all likes: one moment for all users, as when a model is trained and serves.

    Nothing from that moment on stays in the training set; the targets are each user's first `limit` likes after it.
    """
    histories = dataset.histories
    liked = histories.weights > 0
    moment = np.quantile(histories.times[liked], 1.0 - fraction) if liked.any() else np.inf
    is_later = histories.times >= moment
    later = keep_entries(histories, is_later & liked)
    targets = keep_entries(later, entry_ages(later) < limit)
    return Cut(
        replace(dataset, histories=keep_entries(histories, ~is_later)), targets, has_informative_timestamps(histories)
    )


def has_informative_timestamps(histories: Histories) -> bool:
    """True where the times order most users' events: more than half of neighbouring entries differ in time."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    same_user = rows[1:] == rows[:-1]
    if not same_user.any():
        return False
    return bool(np.mean(histories.times[1:][same_user] != histories.times[:-1][same_user]) > 0.5)


def has_shared_clock(histories: Histories) -> bool:
    """True where times are moments shared by all users, False where they only number the events of each user.

    Moments let users arrive one after another: their first events spread over more than a tenth of the window.
    """
    if not len(histories.times):
        return False
    first = histories.times[histories.indptr[1:][histories.lengths > 0] - 1]
    window = float(histories.times.max() - histories.times.min())
    return bool(first.std() > 0.1 * window)


def keep_entries(histories: Histories, keep: NDArray[np.bool_]) -> Histories:
    """The histories with only the entries where `keep` is true; users without any stay, empty."""
    counts = np.concatenate([[0], np.cumsum(keep)])
    return Histories(
        counts[histories.indptr].astype(np.int64),
        histories.items[keep],
        histories.weights[keep],
        histories.times[keep],
        histories.now,
        histories.profiles,
    )


def entry_ages(histories: Histories) -> NDArray[np.int64]:
    """(n_entries,) how many entries of the same user are older."""
    newer = np.arange(len(histories.items)) - np.repeat(histories.indptr[:-1], histories.lengths)
    return np.asarray(np.repeat(histories.lengths, histories.lengths) - 1 - newer, dtype=np.int64)


def shuffled(histories: Histories, seed: int) -> Histories:
    """The same entries, in random order within each history: where times tell nothing, no entry is the newest."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    order = np.lexsort((np.random.default_rng(seed).random(len(rows)), rows))
    return replace(
        histories, items=histories.items[order], weights=histories.weights[order], times=histories.times[order]
    )


def truncated(histories: Histories, limit: int) -> Histories:
    """Only the newest `limit` entries of each history."""
    rank = np.arange(len(histories.items)) - np.repeat(histories.indptr[:-1], histories.lengths)
    return keep_entries(histories, rank < limit)

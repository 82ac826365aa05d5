"""Generated data of odd shape: what catalogs and shops look like at their worst. Each: seed → training and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.event_table import plain_columns
from app.domain.entities import EventColumns, Item, Kind

Ints = NDArray[np.int64]
_START = 1_600_000_000.0
_CHANGED = datetime(2020, 1, 1, tzinfo=UTC)
_TAGS_PER_ITEM = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """Events to learn from, events to find, and a catalog where there is one."""

    train: EventColumns
    test: EventColumns
    items: tuple[Item, ...] = ()


def _columns(user: Ints, item: Ints, times: NDArray[np.float64] | None) -> EventColumns:
    users = tuple(f"u{number}" for number in range(int(user.max()) + 1))
    items = tuple(f"i{number}" for number in range(int(item.max()) + 1))
    return plain_columns(users, items, user, item, times, Kind.LIKE)


def _clock(n_events: int) -> NDArray[np.float64]:
    return np.asarray(_START + 60.0 * np.arange(n_events), dtype=np.float64)


def _split(user: Ints, item: Ints, *, timed: bool = True, items: Sequence[Item] = ()) -> Shape:
    """The last tenth of the events is the test."""
    kept = max(1, len(user) * 9 // 10)
    times = _clock(len(user)) if timed else None
    train = _columns(user[:kept], item[:kept], None if times is None else times[:kept])
    return Shape(train, _columns(user[kept:], item[kept:], None if times is None else times[kept:]), tuple(items))


def _popular(rng: np.random.Generator, n_items: int, size: int) -> Ints:
    """Items by a long tail: the n-th is liked in proportion to 1 / (n + 10)."""
    chance = 1.0 / np.arange(10, n_items + 10)
    return rng.choice(n_items, size, p=chance / chance.sum()).astype(np.int64)


def tasteful(n_users: int, n_items: int, n_events: int, seed: int = 0, groups: int = 20) -> Shape:
    """Users have one of `groups` tastes; four of five events follow it, popular items of the taste first."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, n_users, n_events)
    per_group = max(1, n_items // groups)
    own = _popular(rng, per_group, n_events) * groups + user % groups
    anything = _popular(rng, n_items, n_events)
    item = np.where(rng.random(n_events) < 0.8, np.minimum(own, n_items - 1), anything)
    return _split(user, item)


def one_item_per_user(seed: int) -> Shape:
    """Nobody comes twice: the test is of new users."""
    rng = np.random.default_rng(seed)
    return _split(np.arange(5_000), _popular(rng, 300, 5_000))


def two_groups(seed: int) -> Shape:
    """Two halves of users that share no item."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 600, 20_000)
    return _split(user, _popular(rng, 300, 20_000) * 2 + user % 2)


def equally_popular(seed: int) -> Shape:
    """Nothing to learn: every item has as many likes as any other, from users drawn at random."""
    rng = np.random.default_rng(seed)
    return _split(rng.integers(0, 1_000, 20_000), rng.permutation(np.arange(20_000) % 400))


def one_user(seed: int) -> Shape:
    """A single user with a hundred items."""
    return _split(np.zeros(100, dtype=np.int64), np.random.default_rng(seed).permutation(100))


def one_item(seed: int) -> Shape:
    """A single item that everybody likes."""
    return _split(np.arange(500), np.zeros(500, dtype=np.int64))


def repeats(seed: int) -> Shape:
    """Everybody likes the same five items again and again."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 300, 10_000)
    return _split(user, (user * 7 + rng.integers(0, 5, 10_000)) % 200)


def no_times(seed: int) -> Shape:
    """Tastes, and no order of events."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 800, 30_000)
    return _split(user, _popular(rng, 60, 30_000) * 8 + user % 8, timed=False)


def duplicates(seed: int) -> Shape:
    """Every event was delivered five times."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 800, 10_000)
    item = _popular(rng, 60, 10_000) * 8 + user % 8
    return _split(np.repeat(user, 5), np.repeat(item, 5))


def tags_only(seed: int) -> Shape:
    """Items come and go: those of the test have no past, and only their tags tell who will like them."""
    rng = np.random.default_rng(seed)
    n_items, n_tags, n_users, n_events = 2_000, 60, 800, 12_000
    tags = rng.integers(0, n_tags, (n_items, _TAGS_PER_ITEM))
    items = tuple(
        Item(f"i{number}", _CHANGED, title=f"Item {number}", tags=tuple(sorted({f"t{tag}" for tag in row})))
        for number, row in enumerate(tags.tolist())
    )
    user = rng.integers(0, n_users, n_events)
    # A user likes three tags; the n-th event picks among the items that are new by then.
    window = np.arange(n_events) * (n_items - 100) // n_events
    offered = window[:, None] + rng.integers(0, 100, (n_events, 30))
    liked = (tags[offered][..., None] == ((user[:, None] + np.array([0, 7, 19])) % n_tags)[:, None, None, :]).any(-1)
    item = offered[np.arange(n_events), liked.sum(axis=2).argmax(axis=1)]
    return _split(user, item, items=items)


def many_users(seed: int) -> Shape:
    """A million users with one event each."""
    return _split(np.arange(1_000_000), _popular(np.random.default_rng(seed), 20_000, 1_000_000))


def large(seed: int) -> Shape:
    """200,000 items, 50,000 users, two million events."""
    return tasteful(50_000, 200_000, 2_000_000, seed, groups=200)


SMALL: Mapping[str, Callable[[int], Shape]] = {
    make.__name__: make
    for make in (
        *(one_item_per_user, two_groups, equally_popular, one_user, one_item),
        *(repeats, no_times, duplicates, tags_only),
    )
}
"""Seconds each: also run by the tests."""

LARGE: Mapping[str, Callable[[int], Shape]] = {"many_users": many_users, "large": large}

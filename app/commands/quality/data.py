"""The public data sets of the benchmarks, from the folder named by ENCORE_BENCH_DATA."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.event_table import plain_columns
from app.domain.entities import EventColumns, Item, User
from app.domain.exceptions import ConfigurationError

DEFAULT_FOLDER = "../shared/data"
Ints = NDArray[np.int64]
_CHANGED = datetime(2000, 1, 1, tzinfo=UTC)
_DAY_ONE = 946_684_800.0
"""2000-01-01: where an order of events is known but no time, the n-th event of a user happened n minutes later."""


def data_folder() -> Path:
    """Raises ConfigurationError where there is no data."""
    folder = Path(os.environ.get("ENCORE_BENCH_DATA", DEFAULT_FOLDER))
    if not folder.is_dir():
        raise ConfigurationError("ENCORE_BENCH_DATA", "the folder with the benchmark data is not there")
    return folder


@dataclass(frozen=True, slots=True)
class Pairs:
    """User and item positions of events in order; `position` is the number of the event within its user, or None."""

    user: Ints
    item: Ints
    n_users: int
    n_items: int
    position: Ints | None = None

    def events(self, keep: NDArray[np.bool_] | None = None) -> EventColumns:
        """As likes of users `0`, `1`, … of items `0`, `1`, …, a minute apart where the order is known."""
        kept = np.ones(len(self.user), dtype=bool) if keep is None else keep
        times = None if self.position is None else _DAY_ONE + 60.0 * self.position[kept]
        users = tuple(str(user) for user in range(self.n_users))
        items = tuple(str(item) for item in range(self.n_items))
        return plain_columns(users, items, self.user[kept], self.item[kept], times)


def _table(path: Path, separator: str | None = None) -> Ints:
    return np.loadtxt(path, dtype=np.int64, delimiter=separator, ndmin=2)


def movielens_negatives() -> tuple[Pairs, Ints, Ints]:
    """(train, test users (n,), candidates (n, 100) with the test item first) of ml-1m-ncf."""
    folder = data_folder() / "ml-1m-ncf"
    with np.load(folder / "train.npz") as arrays:
        user, item = (arrays[name].astype(np.int64) for name in arrays.files[:2])
    users, rows = [], []
    for line in (folder / "ml-1m.test.negative").read_text(encoding="ascii").splitlines():
        pair, *negatives = line.split("\t")
        asked, right = (int(part) for part in pair.strip("()").split(","))
        users.append(asked)
        rows.append([right, *(int(negative) for negative in negatives)])
    candidates = np.array(rows, dtype=np.int64)
    n_items = int(max(item.max(), candidates.max())) + 1
    return Pairs(user, item, int(user.max()) + 1, n_items), np.array(users, dtype=np.int64), candidates


def gowalla() -> tuple[Pairs, Pairs]:
    """(train, test) of the LightGCN split."""
    folder = data_folder() / "gowalla"
    parts = []
    for name in ("train.txt", "test.txt"):
        users, items = [], []
        for line in (folder / name).read_text(encoding="ascii").splitlines():
            user, *liked = (int(part) for part in line.split())
            users += [user] * len(liked)
            items += liked
        parts.append((np.array(users, dtype=np.int64), np.array(items, dtype=np.int64)))
    n_users = 1 + int(max(user.max() for user, _ in parts))
    n_items = 1 + int(max(item.max() for _, item in parts))
    train, test = (Pairs(user, item, n_users, n_items) for user, item in parts)
    return train, test


def movielens_sequences() -> Pairs:
    """ml-1m-seq: every event of every user in order."""
    table = _table(data_folder() / "ml-1m-seq" / "ml-1m_sasrec_ids.txt")
    user, item = table[:, 0] - 1, table[:, 1] - 1
    return Pairs(user, item, int(user.max()) + 1, int(item.max()) + 1, _positions(user))


def _positions(user: Ints) -> Ints:
    """The number of each event within its user, events of a user being neighbours."""
    counts = np.bincount(user)
    return np.arange(len(user)) - (np.cumsum(counts) - counts)[user]


@dataclass(frozen=True, slots=True)
class MovieLens:
    """ML-1M with its catalog: `pairs` refer to `items` and `users` by position."""

    pairs: Pairs
    items: tuple[Item, ...]
    users: tuple[User, ...]


def movielens() -> MovieLens:
    """ML-1M, each user's events in order, with titles, genres, years and demographics."""
    folder = data_folder()
    users, movies = [], []
    for line in (folder / "ml-1m-seq" / "sequences_movieid.txt").read_text(encoding="ascii").splitlines():
        user, *seen = line.split()
        users += [user] * len(seen)
        movies += seen
    user_ids, user_of = np.unique(np.array(users, dtype=np.int64), return_inverse=True)
    movie_ids, item_of = np.unique(np.array(movies, dtype=np.int64), return_inverse=True)
    pairs = Pairs(user_of, item_of, len(user_ids), len(movie_ids), _positions(user_of))
    meta = folder / "ml-1m-meta"
    return MovieLens(pairs, _items(meta / "movies.dat", movie_ids), _users(meta / "users.dat", user_ids))


def _items(path: Path, movie_ids: Ints) -> tuple[Item, ...]:
    position = {int(movie): number for number, movie in enumerate(movie_ids)}
    found = []
    for line in path.read_text(encoding="latin-1").splitlines():
        movie, title, genres = line.split("::")
        if int(movie) in position:
            year = re.search(r"\((\d{4})\)\s*$", title)
            plain = title[: year.start()].strip() if year else title
            number = int(year[1]) if year else None
            name = str(position[int(movie)])
            found.append(Item(name, _CHANGED, title=plain, genres=tuple(genres.split("|")), year=number))
    return tuple(found)


def _users(path: Path, user_ids: Ints) -> tuple[User, ...]:
    position = {int(user): number for number, user in enumerate(user_ids)}
    found = []
    for line in path.read_text(encoding="ascii").splitlines():
        user, gender, age, occupation, postcode = line.split("::")
        attributes = {"gender": gender, "age": int(age), "occupation": f"o{occupation}", "zip_code": postcode}
        found.append(User(str(position[int(user)]), _CHANGED, attributes))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Impressions:
    """Open Bandit logs: what was shown where, with which chance, and whether it was clicked."""

    item: Ints
    position: Ints
    click: NDArray[np.float64]
    propensity: NDArray[np.float64]


def open_bandit(policy: str) -> Impressions:
    """The 10,000 impressions of `random` or `bts`, campaign men."""
    path = data_folder() / "obd" / policy / "men" / "men.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(2, 3, 4, 5))
    return Impressions(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], table[:, 3])

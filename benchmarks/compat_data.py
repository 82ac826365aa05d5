"""The tables of the older systems, generated: what docs/migrate-posts.md, -movies.md and -books.md import."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.domain.entities import KINDS, EventColumns, Kind
from benchmarks.shape_data import Generated, posts, shop

_GROUPS = ("Aurora", "Neon", "Lumen", "Comet", "Velvet", "Prism", "Echo", "Nova", "Solace", "Tidal", "Ember", "Orbit")
_GENRES = ("Action", "Comedy", "Drama", "Crime", "Romance", "Sci-Fi")


def write_posts(folder: Path, scale: float = 1.0) -> Mapping[str, int]:
    """500 people with roles and communities, 2,016 posts, views, likes, comments; rows by file."""
    made = posts(1, scale)
    people = ([user.user_id, user.attributes["role"], user.attributes["communities"]] for user in made.users)
    pieces = (
        [f"p{item.item_id}", _title(int(item.item_id)), "|".join(item.tags), item.genres[0], item.genres[0]]
        for item in made.items
    )
    found = {
        "users.csv": _write(folder / "users.csv", ["id", "role", "communities"], people),
        "posts.csv": _write(folder / "posts.csv", ["id", "title", "tags", "communityId", "genres"], pieces),
    }
    for name, kind in (("views", Kind.VIEW), ("likes", Kind.LIKE), ("comments", Kind.COMMENT)):
        rows = ([user, f"p{item}", time] for user, item, one, time in _events(made) if one is kind)
        found[f"{name}.csv"] = _write(folder / f"{name}.csv", ["userId", "postId", "createdAt"], rows)
    return found


def write_movies(folder: Path, scale: float = 1.0) -> Mapping[str, int]:
    """A folder as MovieLens has it: users who rate films of the two genres they like; rows by file."""
    rng = np.random.default_rng(2)
    n_users, n_films = max(60, int(600 * scale)), max(90, int(900 * scale))
    genre = rng.integers(0, len(_GENRES), n_films)
    films = ([n + 1, f"Film {n + 1} ({1950 + n % 70})", _GENRES[genre[n]]] for n in range(n_films))
    ratings = []
    for user in range(n_users):
        near = np.isin(genre, rng.choice(len(_GENRES), 2, replace=False))
        chance = (near + 0.1) / (np.arange(n_films) + 10.0)
        for place, film in enumerate(rng.choice(n_films, 20, replace=False, p=chance / chance.sum())):
            rating = float(np.clip(round(2 * rng.normal(4.2 if near[film] else 2.5, 0.6)) / 2, 0.5, 5))
            ratings.append([user + 1, film + 1, rating, 1_600_000_000 + 3_600 * (place * n_users + user)])
    return {
        "movies.csv": _write(folder / "movies.csv", ["movieId", "title", "genres"], films),
        "ratings.csv": _write(folder / "ratings.csv", ["userId", "movieId", "rating", "timestamp"], ratings),
    }


def write_books(folder: Path, scale: float = 1.0) -> Mapping[str, int]:
    """Readers, books with stock (a twentieth is sold out), purchases one after another; rows by file."""
    # Few shelves: on one that is smaller than a reader's list, the generator looks for another book for ever.
    made = shop(3, 0.05 * scale, 190_000, kinds=20)
    bought = [(user, item, time) for user, item, _, time in _events(made)]
    titles = sorted({item for _, item, _ in bought}, key=int)
    readers = sorted({user for user, _, _ in bought}, key=int)
    books = ([f"b{n}", f"{_title(int(n))}", f"shelf {int(n) % 12}", int(n) % 20 != 7] for n in titles)
    return {
        "readers.csv": _write(
            folder / "readers.csv", ["id", "country"], ([f"r{n}", ("NL", "BE", "DE")[int(n) % 3]] for n in readers)
        ),
        "books.csv": _write(folder / "books.csv", ["id", "title", "genres", "available"], books),
        "purchases.csv": _write(
            folder / "purchases.csv",
            ["reader_id", "book_id", "bought_at"],
            ([f"r{user}", f"b{item}", time] for user, item, time in bought),
        ),
    }


WRITE: Mapping[str, Callable[[Path, float], Mapping[str, int]]] = {
    "posts": write_posts,
    "movies": write_movies,
    "books": write_books,
}
"""System → writes its tables into a folder."""


def _title(number: int) -> str:
    return f"{_GROUPS[number % len(_GROUPS)]} {number}"


def _events(made: Generated) -> Iterable[tuple[str, str, Kind, str]]:
    """(user, item, kind, RFC 3339 time) of all events, known and held out."""
    for part in (made.train, made.test):
        yield from _of(part)


def _of(part: EventColumns) -> Iterable[tuple[str, str, Kind, str]]:
    for user, item, kind, time in zip(part.user, part.item, part.kind, part.occurred_at, strict=True):
        moment = datetime.fromtimestamp(float(time), UTC).isoformat(timespec="milliseconds")
        yield part.user_ids[user], part.item_ids[item], KINDS[kind], moment


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count

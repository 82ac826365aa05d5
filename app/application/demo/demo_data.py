"""A small believable catalog with people who have tastes: for `encore demo`, tests and benchmarks.

Everything follows from `anchor` (the newest moment) and `seed`: the same arguments give the same ids, words, tastes
and events, so that taking it in twice adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from app.application.demo.demo_words import (
    COUNTRIES,
    DEVICES,
    GENRES,
    LANGUAGES,
    NAMES,
    PLACES,
    TITLE_SHAPES,
)
from app.domain.entities import Interaction, Item, Kind, User

HISTORY = timedelta(days=330)
"""How far back the demo's events go."""

_NAMESPACE = UUID("5a0f3a3e-0d0b-5b7e-9a43-0f5c9f0a7d21")
_EVENING_HOUR, _HOURS_SPREAD = 20.0, 2.5
_TASTE, _THEME, _ERA, _POPULARITY = 12.0, 8.0, 0.8, 0.6
"""How much genres, tags, release years and fame pull a choice, against Gumbel noise of scale 1."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DemoData:
    """A catalog, profiles, and what people did, oldest first."""

    items: tuple[Item, ...]
    users: tuple[User, ...]
    interactions: tuple[Interaction, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """Items as numbers: (n, n_genres) weights summing to 1, (n, n_tags) 0/1, (n,) years and log fame."""

    genres: Floats
    tags: Floats
    years: Floats
    fame: Floats


def generate(anchor: datetime, *, n_items: int = 600, n_users: int = 400, seed: int = 7) -> DemoData:
    """The demo's data. `anchor` is timezone-aware; no event is later."""
    rng = np.random.Generator(np.random.PCG64(seed))
    items = make_items(rng, anchor, n_items)
    users = make_users(rng, anchor, n_users)
    traits = traits_of(items, rng)
    events = [event for user in users for event in _events_of(user, items, traits, anchor, rng)]
    return DemoData(items, users, tuple(sorted(events, key=lambda event: (event.occurred_at, event.event_id))))


def make_items(rng: np.random.Generator, anchor: datetime, count: int) -> tuple[Item, ...]:
    """`count` titles, all different, spread over the genres."""
    titles: set[str] = set()
    names = list(GENRES)
    return tuple(_item(rng, number, names[number % len(names)], titles, anchor) for number in range(count))


def make_users(rng: np.random.Generator, anchor: datetime, count: int) -> tuple[User, ...]:
    """`count` profiles."""
    return tuple(
        User(
            f"user-{number:03d}",
            anchor - HISTORY,
            {"age": int(rng.integers(16, 75)), "country": _pick(rng, COUNTRIES)},
        )
        for number in range(1, count + 1)
    )


def traits_of(items: Sequence[Item], rng: np.random.Generator) -> Traits:
    """Items as numbers. Fame is Zipf-like: a few are known to everybody."""
    genre_names = list(GENRES)
    tag_names = sorted({tag for item in items for tag in item.tags})
    genres = np.array([[item.genres.count(name) for name in genre_names] for item in items], dtype=np.float64)
    tags = np.array([[item.tags.count(name) for name in tag_names] for item in items], dtype=np.float64)
    years = np.array([item.year or 2000 for item in items], dtype=np.float64)
    fame = -np.log(rng.permutation(len(items)) + 3.0)
    return Traits(genres / genres.sum(axis=1, keepdims=True), tags, years, fame)


def _item(rng: np.random.Generator, number: int, genre: str, taken: set[str], anchor: datetime) -> Item:
    words = GENRES[genre]
    near = [other for other in words.near if rng.random() < 0.45]
    vocabulary = [*words.tags, *(tag for other in near for tag in GENRES[other].tags[:2])]
    tags = tuple(dict.fromkeys(_pick(rng, vocabulary) for _ in range(3)))
    newest = anchor - HISTORY
    year = newest.year - int(min(rng.exponential(14.0), 65.0))
    # Everything is out before the first event, so that nobody watches a film that does not exist yet.
    published = min(datetime(year, int(rng.integers(1, 13)), int(rng.integers(1, 29)), tzinfo=UTC), newest)
    place = _pick(rng, PLACES)
    return Item(
        item_id=f"film-{number + 1:03d}",
        updated_at=newest,
        title=_title(rng, genre, place, taken),
        description=f"{_pick(rng, NAMES)} in {place}: {', '.join(tags)}.",
        genres=(genre, *near),
        tags=tags,
        year=year,
        published_at=published,
        attributes={"runtime_minutes": int(rng.integers(78, 165)), "language": _pick(rng, LANGUAGES)},
    )


def _title(rng: np.random.Generator, genre: str, place: str, taken: set[str]) -> str:
    words = GENRES[genre]
    while True:
        title = _pick(rng, TITLE_SHAPES).format(
            adjective=_pick(rng, words.adjectives), noun=_pick(rng, words.nouns), place=place, name=_pick(rng, NAMES)
        )
        if title in taken:
            title = f"{title} {_pick(rng, ('II', 'III', 'Returns', 'Revisited', 'Reborn'))}"
        if title not in taken:
            taken.add(title)
            return title


def _events_of(
    user: User, items: Sequence[Item], traits: Traits, anchor: datetime, rng: np.random.Generator
) -> Iterator[Interaction]:
    fit = _fit(traits, rng)
    count = int(min(max(rng.lognormal(3.5, 0.6), 8.0), 140.0, len(items) / 2))
    wanted = fit + _POPULARITY * traits.fame + rng.gumbel(size=len(items))
    chosen = np.argsort(-wanted, kind="stable")[:count]
    liking = _liking(fit, rng)
    for position, when in zip(rng.permutation(chosen), _moments(rng, anchor, count), strict=True):
        yield from _watching(user.user_id, items[position], float(liking[position]), when, anchor, rng)


def _fit(traits: Traits, rng: np.random.Generator) -> Floats:
    """(n_items,) how well each item suits one person: two or three genres, a few themes, a favourite era."""
    taste = rng.dirichlet(np.full(traits.genres.shape[1], 0.18))
    themes = rng.random(traits.tags.shape[1]) < 0.08
    era = rng.normal(2008.0, 12.0)
    closeness = np.exp(-(((traits.years - era) / 15.0) ** 2))
    fit: Floats = _TASTE * (traits.genres @ taste) + _THEME * (traits.tags @ themes) / 3.0 + _ERA * closeness
    return fit


def _liking(fit: Floats, rng: np.random.Generator) -> Floats:
    """(n_items,) 0–1: the rank of each item in one person's taste, blurred."""
    rank = np.argsort(np.argsort(fit, kind="stable"), kind="stable") / len(fit)
    liking: Floats = np.clip(0.25 + 0.7 * rank + rng.normal(0.0, 0.12, len(fit)), 0.02, 1.0)
    return liking


def _moments(rng: np.random.Generator, anchor: datetime, count: int) -> Sequence[datetime]:
    """`count` evenings between a person's first day and the anchor, oldest first."""
    first = rng.uniform(0.0, 0.7)
    days = np.sort(rng.uniform(first, 1.0, count)) * (HISTORY.days - 1)
    hours = rng.normal(_EVENING_HOUR, _HOURS_SPREAD, count)
    start = anchor - HISTORY
    moments = (
        start + timedelta(days=float(int(day)), hours=float(hour)) for day, hour in zip(days, hours, strict=True)
    )
    return [min(moment, anchor - timedelta(hours=1)).replace(microsecond=0) for moment in moments]


def _watching(
    user_id: str, item: Item, liking: float, when: datetime, anchor: datetime, rng: np.random.Generator
) -> Iterator[Interaction]:
    """One evening: perhaps put on the watchlist days before, watched in part or whole, perhaps rated or liked."""
    runtime = float(str(item.attributes["runtime_minutes"])) * 60.0
    if rng.random() < 0.12:
        yield _event(user_id, item, Kind.WATCHLIST, when - timedelta(days=float(rng.integers(1, 20))), value=1.0)
    watched = round(runtime * min(max(liking + rng.normal(0.1, 0.2), 0.05), 1.0))
    device = _pick(rng, DEVICES)
    yield _event(user_id, item, Kind.WATCH, when, value=float(watched), duration=runtime, device=device)
    afterwards = min(when + timedelta(seconds=watched), anchor)
    if rng.random() < 0.3:
        yield _event(user_id, item, Kind.RATING, afterwards, value=round(2.0 * (1.2 + 3.8 * liking)) / 2.0)
    elif liking > 0.85 and rng.random() < 0.3:
        yield _event(user_id, item, Kind.LIKE, afterwards)


def _event(
    user_id: str,
    item: Item,
    kind: Kind,
    when: datetime,
    *,
    value: float | None = None,
    duration: float | None = None,
    device: str | None = None,
) -> Interaction:
    identity = uuid5(_NAMESPACE, f"{user_id}/{item.item_id}/{kind}/{when.isoformat()}")
    return Interaction(identity, user_id, item.item_id, kind, when, value, duration, device)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]

"""Generated data whose truth is known: shops, tags, one target each, posts, repeats, and where popularity is best.

Each shape is drawn from a model that is written down here, so that what could be known of a user before the test is a
score too: the *oracle*. `scale` shrinks users, items and pairs together; 1.0 are the sizes named in docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.event_table import plain_columns
from app.domain.entities import EventColumns, Item, Kind, User

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Oracle = Callable[[int], Floats]
"""User number → (n_items,) what the generator would give each item next."""

_START, _MINUTE = 1_600_000_000.0, 60.0
_CHANGED = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Generated:
    """Events to learn from and to find, what is known of items and users, the oracle, and what to measure.

    `cold`: items without training events; where there are some, lists of these alone are judged too. Users and items
    have their number as id. `seen`: how test items that the user has in train count.
    """

    train: EventColumns
    test: EventColumns
    oracle: Oracle
    metrics: tuple[str, ...]
    items: tuple[Item, ...] = ()
    users: tuple[User, ...] = ()
    cold: NDArray[np.bool_] | None = None
    seen: str = "drop"


def _columns(user: Ints, item: Ints, times: Floats | None, kind: Kind = Kind.LIKE) -> EventColumns:
    users = tuple(str(number) for number in range(int(user.max(initial=0)) + 1))
    items = tuple(str(number) for number in range(int(item.max(initial=0)) + 1))
    return plain_columns(users, items, user, item, times, kind)


def _tail(n: int, power: float = 0.8, head: float = 5.0) -> Floats:
    """A long tail that sums to one."""
    weights = (np.arange(n) + head) ** -power
    return np.asarray(weights / weights.sum())


def _lasts(user: Ints) -> NDArray[np.bool_]:
    return np.append(user[1:] != user[:-1], True)


def _drawn(rng: np.random.Generator, cumulated: Floats) -> int:
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1]))


def shop(seed: int, scale: float = 1.0, pairs: int = 190_000, items: int = 12_000, kinds: int = 60) -> Generated:
    """Directed transitions: after an item comes one of its eight successors, or something of the user's two kinds.

    Of the steps 35 % follow the last item, 15 % the one before it. The test is everybody's last item.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items = max(200, int(22_000 * scale)), max(300, int(items * scale))
    kinds = max(6, int(kinds * scale**0.5))
    kind_of = rng.integers(0, kinds, n_items)
    within = [np.flatnonzero(kind_of == kind) for kind in range(kinds)]
    tails = [np.cumsum(_tail(max(len(own), 1))) for own in within]
    successors = np.stack([rng.choice(within[kind_of[item]], 8) for item in range(n_items)])
    steps = np.cumsum(0.7 ** np.arange(8))
    tastes = rng.integers(0, kinds, (n_users, 2))
    mean = pairs * scale / n_users + 1.0
    lengths = np.clip(rng.geometric(1.0 / (mean - 4.0), n_users) + 4, 5, 200)
    past: list[list[int]] = []
    for person in range(n_users):
        seen: list[int] = []
        while len(seen) < lengths[person]:
            way = rng.random()
            if seen and way < 0.5:
                before = seen[-1] if way < 0.35 or len(seen) < 2 else seen[-2]
                chosen = int(successors[before, min(_drawn(rng, steps), 7)])
            else:
                kind = int(tastes[person, rng.integers(2)])
                chosen = int(within[kind][min(_drawn(rng, tails[kind]), len(within[kind]) - 1)])
            if chosen not in seen or rng.random() < 0.02:
                seen = [one for one in seen if one != chosen] + [chosen]
        past.append(seen)

    def oracle(user: int) -> Floats:
        chance = np.full(n_items, 1e-9)
        own = past[user][:-1]
        for weight, before in ((0.35, own[-1]), (0.15, own[-2])):
            np.add.at(chance, successors[before], weight * np.diff(steps, prepend=0.0) / steps[-1])
        for kind in tastes[user]:
            chance[within[kind]] += 0.25 * np.diff(tails[kind], prepend=0.0)
        return chance

    user = np.repeat(np.arange(n_users), [len(one) for one in past])
    item = np.concatenate([np.array(one, dtype=np.int64) for one in past])
    order = np.arange(len(user)) - np.repeat(np.flatnonzero(np.append(True, _lasts(user)[:-1])), np.bincount(user))
    # Some shop every day, some every month; they arrive one after another.
    begin = rng.random(n_users) * 300.0
    times = _START + 86_400.0 * (begin[user] + order * rng.uniform(1, 20, n_users)[user])
    last = _lasts(user)
    return Generated(
        _columns(user[~last], item[~last], times[~last]),
        _columns(user[last], item[last], times[last]),
        oracle,
        ("hr@10", "ndcg@10", "recall@20"),
    )


def tags(seed: int, scale: float = 1.0) -> Generated:
    """A library: 17,000 papers known by about eleven of 7,000 sparse tags; a fifth of them nobody has read yet.

    A reader follows three topics and a dozen tags within them. The test: what they read of the papers without readers.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items, n_tags = max(150, int(5_500 * scale)), max(600, int(17_000 * scale)), max(200, int(7_000 * scale))
    topics = max(10, int(200 * scale**0.5))
    topic_of_tag = rng.integers(0, topics, n_tags)
    of_topic = [np.flatnonzero(topic_of_tag == topic) for topic in range(topics)]
    topic_of = rng.integers(0, topics, n_items)
    marks = np.zeros((n_items, 11), dtype=np.int64)
    for paper in range(n_items):
        own = of_topic[topic_of[paper]]
        marks[paper] = rng.integers(0, n_tags, 11)
        if len(own):
            marks[paper, :8] = own[np.minimum(rng.geometric(3.0 / (len(own) + 3.0), 8) - 1, len(own) - 1)]
    liked = rng.permutation(n_items)[:n_items]
    popular = _tail(n_items, 0.5)[liked]
    tastes = np.stack([rng.choice(topics, 3, replace=False) for _ in range(n_users)])
    favourites = [
        np.concatenate(
            [rng.choice(of_topic[t], min(5, len(of_topic[t])), replace=False) for t in own if len(of_topic[t])]
        )
        for own in tastes
    ]

    def chances(user: int) -> Floats:
        fit = np.isin(marks, favourites[user]).sum(axis=1)
        near = np.isin(topic_of, tastes[user])
        weight = popular * (near * (0.3 + fit**2.0) + 1e-3)
        return np.asarray(weight / weight.sum())

    cold = np.zeros(n_items, dtype=bool)
    cold[rng.permutation(n_items)[: n_items // 5]] = True
    rows, columns = [], []
    for person in range(n_users):
        size = int(np.clip(rng.lognormal(3.3, 0.6), 10, 200))
        found = rng.choice(n_items, min(size, n_items // 4), replace=False, p=chances(person))
        rows += [person] * len(found)
        columns += found.tolist()
    user, item = np.array(rows), np.array(columns)
    lost = cold[item]
    catalog = tuple(
        Item(str(paper), _CHANGED, tags=tuple(f"t{tag}" for tag in np.unique(marks[paper]))) for paper in range(n_items)
    )
    return Generated(
        _columns(user[~lost], item[~lost], None),
        _columns(user[lost], item[lost], None),
        chances,
        ("recall@20", "ndcg@20"),
        catalog,
        cold=cold,
    )


def one_target(seed: int, scale: float = 1.0) -> Generated:
    """A city guide: 30,000 visitors of about seven places in two of 80 quarters; one more visit each is the test."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(400, int(30_000 * scale)), max(300, int(9_000 * scale))
    quarters = max(8, int(80 * scale**0.5))
    quarter = rng.integers(0, quarters, n_items)
    style = rng.integers(0, 6, n_items)
    popular = _tail(n_items, 0.7)[rng.permutation(n_items)]
    homes = rng.integers(0, quarters, (n_users, 2))
    wanted = rng.integers(0, 6, n_users)

    def chances(user: int) -> Floats:
        near = 0.7 * (quarter == homes[user, 0]) + 0.3 * (quarter == homes[user, 1]) + 0.01
        weight = popular * near * np.where(style == wanted[user], 4.0, 1.0)
        return np.asarray(weight / weight.sum())

    train_user, train_item, test_item = [], [], []
    for person in range(n_users):
        size = int(np.clip(rng.geometric(0.2) + 2, 3, 40))
        found = rng.choice(n_items, size, replace=False, p=chances(person))
        train_user += [person] * (size - 1)
        train_item += found[:-1].tolist()
        test_item.append(int(found[-1]))
    return Generated(
        _columns(np.array(train_user), np.array(train_item), None),
        _columns(np.arange(n_users), np.array(test_item), None),
        chances,
        ("recall@20", "ndcg@20"),
    )


def popularity_best(seed: int, scale: float = 1.0) -> Generated:
    """Everybody draws from one long tail: popularity is the truth, and all else is noise."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(300, int(6_000 * scale)), max(200, int(2_000 * scale))
    chance = _tail(n_items, 1.0, 10.0)
    chances = np.log(chance)
    drawn = np.argsort(-(chances + rng.gumbel(size=(n_users, n_items))), axis=1)[:, :15]
    user = np.repeat(np.arange(n_users), 15)
    item = drawn.ravel().astype(np.int64)
    # The order of arrival says nothing, so that what a user happened to take first is no hint.
    held = rng.permuted(np.tile(np.arange(15), (n_users, 1)), axis=1).ravel() < 3
    return Generated(
        _columns(user[~held], item[~held], None),
        _columns(user[held], item[held], None),
        lambda _: chance,
        ("ndcg@10", "recall@20"),
    )


def repeats(seed: int, scale: float = 1.0) -> Generated:
    """Groceries: three of four purchases are things bought before, more often the more often they were."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(150, int(3_000 * scale)), max(150, int(1_500 * scale))
    tail = np.cumsum(_tail(n_items))
    bought: list[list[int]] = []
    for _ in range(n_users):
        own: list[int] = []
        for _ in range(int(np.clip(rng.geometric(0.03) + 8, 10, 100))):
            again = bool(own) and rng.random() < 0.75
            own.append(own[int(rng.integers(len(own)))] if again else min(_drawn(rng, tail), n_items - 1))
        bought.append(own)

    def oracle(user: int) -> Floats:
        counts = np.bincount(bought[user][:-3], minlength=n_items)
        return np.asarray(0.75 * counts / max(counts.sum(), 1) + 0.25 * np.diff(tail, prepend=0.0))

    user = np.repeat(np.arange(n_users), [len(one) for one in bought])
    item = np.concatenate([np.array(one, dtype=np.int64) for one in bought])
    left = np.concatenate([np.arange(len(one))[::-1] for one in bought])
    times = _START + 86_400.0 * (400.0 - left + rng.random(len(left)) * 0.5)
    held = left < 3
    return Generated(
        _columns(user[~held], item[~held], times[~held], Kind.PURCHASE),
        _columns(user[held], item[held], times[held], Kind.PURCHASE),
        oracle,
        ("hr@10", "ndcg@10"),
        seen="may-return",
    )


def posts(seed: int, scale: float = 1.0, shown: int | None = None) -> Generated:
    """A network: people with a role and three communities view, like and comment on posts of these, by their tags.

    A fifth of the people are newcomers. `shown`: how many of their events are known (None: only known people are
    asked); the test is what they do next.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items, groups, roles = max(120, int(500 * scale)), max(200, int(2_016 * scale)), 12, 5
    home = rng.integers(0, groups, n_items)
    topic = rng.integers(0, 30, (n_items, 3))
    popular = _tail(n_items, 0.6)[rng.permutation(n_items)]
    role = rng.integers(0, roles, n_users)
    joined = np.stack([rng.choice(groups, 3, replace=False) for _ in range(n_users)])
    by_role = rng.random((roles, 30)) ** 3

    def chances(user: int) -> Floats:
        near = np.isin(home, joined[user]) + 0.03
        weight = popular * near * (0.2 + by_role[role[user]][topic].sum(axis=1))
        return np.asarray(weight / weight.sum())

    rows, columns, kinds, places = [], [], [], list[int]()
    for person in range(n_users):
        size = int(np.clip(rng.lognormal(3.2, 0.6), 12, 150))
        found = rng.choice(n_items, size, replace=False, p=chances(person))
        rows += [person] * size
        columns += found.tolist()
        places += range(size)
        kinds += rng.choice([Kind.VIEW, Kind.LIKE, Kind.COMMENT], size, p=[0.6, 0.3, 0.1]).tolist()
    user, item, place = np.array(rows), np.array(columns), np.array(places)
    newcomer = np.zeros(n_users, dtype=bool)
    newcomer[rng.permutation(n_users)[: n_users // 5]] = True
    left = np.bincount(user)[user] - place
    if shown is None:
        held = ~newcomer[user] & (left <= 5)
        kept = ~held & ~newcomer[user]
    else:
        kept = ~newcomer[user] | (place < shown)
        held = newcomer[user] & (place >= shown) & (place < shown + 20)
    times = _START + _MINUTE * (60.0 * place + rng.random(n_users)[user] * 60.0 * 24.0 * 300.0)
    catalog = tuple(
        Item(
            str(post),
            _CHANGED,
            tags=tuple(f"t{tag}" for tag in np.unique(topic[post])),
            genres=(f"community{home[post]}",),
        )
        for post in range(n_items)
    )
    people = tuple(
        User(
            str(person),
            _CHANGED,
            {"role": f"role{role[person]}", "communities": "|".join(f"community{one}" for one in joined[person])},
        )
        for person in range(n_users)
    )
    events = _columns(user, item, times)
    codes = np.array([list(Kind).index(Kind(kind)) for kind in kinds], dtype=np.int8)
    order = np.lexsort((times, user))

    def part(chosen: NDArray[np.bool_]) -> EventColumns:
        rows = chosen[order]
        return replace(
            events,
            user=events.user[rows],
            item=events.item[rows],
            kind=codes[order][rows],
            value=events.value[rows],
            duration=events.duration[rows],
            occurred_at=events.occurred_at[rows],
        )

    return Generated(part(kept), part(held), chances, ("ndcg@20", "recall@20"), catalog, people)


def latent(seed: int, n_users: int, n_items: int, n_pairs: int) -> Generated:
    """Tastes of 40 groups without times: nothing changes at a size but the size."""
    rng = np.random.default_rng(seed)
    groups = 40
    group = rng.integers(0, groups, n_items)
    within = [np.flatnonzero(group == one) for one in range(groups)]
    tail = _tail(n_items, 0.7)
    tastes = rng.integers(0, groups, (n_users, 3))

    def chances(user: int) -> Floats:
        weight = 0.1 * tail
        for one in tastes[user]:
            weight[within[one]] += 0.3 * tail[within[one]] / tail[within[one]].sum()
        return np.asarray(weight / weight.sum())

    each = n_pairs // n_users
    rows, columns, held = [], [], []
    for person in range(n_users):
        found = rng.choice(n_items, each + 2, replace=False, p=chances(person))
        rows += [person] * len(found)
        columns += found.tolist()
        held += [False] * each + [True] * 2
    user, item, lost = np.array(rows), np.array(columns), np.array(held)
    return Generated(
        _columns(user[~lost], item[~lost], None),
        _columns(user[lost], item[lost], None),
        chances,
        ("ndcg@10", "recall@20"),
    )


def _thresholds() -> Mapping[str, Callable[[int, float], Generated]]:
    """At .9 and 1.1 of every size at which selection once changed its mind."""

    def pairs(share: float) -> Callable[[int, float], Generated]:
        return lambda seed, _: latent(seed, int(8_000 * share), 3_000, int(200_000 * share))

    def items(n_items: int) -> Callable[[int, float], Generated]:
        # Users in step with the items, so that the pairs of an item stay the same.
        return lambda seed, _: shop(seed, n_items / 12_000, 190_000)

    found: dict[str, Callable[[int, float], Generated]] = {}
    for share in (0.9, 1.1):
        found[f"pairs-200k-{share}"] = pairs(share)
        found[f"items-4500-{share}"] = items(int(4_500 * share))
        found[f"items-2000-{share}"] = items(int(2_000 * share))
    return found


SHAPES: Mapping[str, Callable[[int, float], Generated]] = {
    "shop-190k": lambda seed, scale: shop(seed, scale, 190_000),
    "shop-210k": lambda seed, scale: shop(seed, scale, 210_000),
    "tags": tags,
    "one-target": one_target,
    "posts": posts,
    "posts-0": lambda seed, scale: posts(seed, scale, 0),
    "posts-1": lambda seed, scale: posts(seed, scale, 1),
    "posts-3": lambda seed, scale: posts(seed, scale, 3),
    "repeats": repeats,
    "popularity-best": popularity_best,
    **_thresholds(),
}
"""Name → (seed, scale) → data."""

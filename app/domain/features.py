"""The one encoder of item and user features, for training and for serving.

Names are `namespace:value`: `genre:drama`, `tag:heist`, `title:matrix`, `text:space`, `year:1999`, `decade:1990s`,
`gender:f`. Values are lower-cased. Which names exist is decided once, by the training set; encoding ignores the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from app.domain.entities import Item, User

_WORD = re.compile(r"[^\W_]{2,}")
_MIN_COUNT = 2
"""A feature that only one item has says nothing about another."""

_MAX_PER_NAMESPACE = 20_000
_MAX_USER_VALUES = 500
"""More values than this (postal codes, names) identify people rather than describe them."""

_SEVERAL = "|"
_NUMBERS = (int, float)


def _item_names(item: Item) -> Iterator[str]:
    """The feature names of one item, repeated as often as they occur."""
    yield from (f"genre:{genre.strip().lower()}" for genre in item.genres)
    yield from (f"tag:{tag.strip().lower()}" for tag in item.tags)
    if item.year is not None:
        yield f"year:{item.year}"
        yield f"decade:{item.year // 10 * 10}s"
    if item.title:
        yield from (f"title:{word}" for word in _WORD.findall(item.title.lower()))
    if item.description:
        yield from (f"text:{word}" for word in _WORD.findall(item.description.lower()))


def _user_names(user: User) -> Iterator[str]:
    """The feature names of one profile: texts and whole numbers as they are, and numbers by decade too.

    `a|b|c` is several values of one attribute: each is a feature, and all together are another.
    """
    for name, value in user.attributes.items():
        if isinstance(value, bool) or not isinstance(value, _NUMBERS):
            if isinstance(value, (str, bool)) and str(value).strip():
                text = str(value).strip().lower()
                yield f"{_namespace(name)}:{text}"
                if _SEVERAL in text:
                    yield from (f"{_namespace(name)}:{part.strip()}" for part in text.split(_SEVERAL) if part.strip())
        elif np.isfinite(value):
            yield f"{_namespace(name)}:{value:g}"
            yield f"{_namespace(name)}:{int(value // 10) * 10}s"


def _namespace(attribute: str) -> str:
    """The attribute's name without a colon, so that (`a`, `b:c`) and (`a:b`, `c`) stay two features.

    Names without `%` and `:`, nearly all, stay as they are: models that were trained before keep their features.
    """
    return attribute.replace("%", "%25").replace(":", "%3A")


def feature_names(items: Sequence[Item]) -> tuple[str, ...]:
    """The features at least two items share, at most 20,000 of the most frequent per namespace; sorted."""
    counts = Counter(name for item in items for name in set(_item_names(item)))
    return _frequent(counts, min(_MIN_COUNT, max(len(items), 1)), _MAX_PER_NAMESPACE)


def user_feature_names(users: Sequence[User]) -> tuple[str, ...]:
    """The features at least two profiles share; attributes with more than 500 values are left out; sorted."""
    counts = Counter(name for user in users for name in set(_user_names(user)))
    values = Counter(name.partition(":")[0] for name in counts if _SEVERAL not in name)
    described = Counter({n: c for n, c in counts.items() if values[n.partition(":")[0]] <= _MAX_USER_VALUES})
    return _frequent(described, _MIN_COUNT, _MAX_USER_VALUES)


def _frequent(counts: Counter[str], minimum: int, limit: int) -> tuple[str, ...]:
    spaces: dict[str, list[str]] = {}
    for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        kept = spaces.setdefault(name.partition(":")[0], [])
        if count >= minimum and len(kept) < limit:
            kept.append(name)
    return tuple(sorted(name for kept in spaces.values() for name in kept))


def encode_items(items: Sequence[Item | None], names: Sequence[str]) -> sp.csr_matrix:
    """(len(items), len(names)) float32 CSR of ones; an unknown item (None) has an empty row."""
    return _encode((() if item is None else _item_names(item) for item in items), len(items), names)


def encode_users(users: Sequence[User | None], names: Sequence[str]) -> sp.csr_matrix:
    """(len(users), len(names)) float32 CSR of ones; an unknown user (None) has an empty row."""
    return _encode((() if user is None else _user_names(user) for user in users), len(users), names)


def _encode(rows: Iterable[Iterable[str]], n_rows: int, names: Sequence[str]) -> sp.csr_matrix:
    position = {name: column for column, name in enumerate(names)}
    indices: list[int] = []
    indptr = [0]
    for row in rows:
        indices.extend(sorted({position[name] for name in row if name in position}))
        indptr.append(len(indices))
    data = np.ones(len(indices), dtype=np.float32)
    return sp.csr_matrix(
        (data, np.array(indices, dtype=np.int32), np.array(indptr, dtype=np.int64)), shape=(n_rows, len(names))
    )

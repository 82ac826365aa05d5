"""The blend: Σ over members of weight(history length) · score / scale (ADR 0003).

Weights are given at a few history lengths (`knots`) and interpolated in ln(1 + length) between them: a popularity or
profile prior fades as history grows. `scale` is a constant per member, measured at training time, so that a score
never depends on which other items are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import ArtifactDamagedError, InputError
from app.domain.recommender import Blended, PlacesNew, ProgressCallback, Recommender, Recommenders
from app.domain.scaling import score_scale
from app.models.base import Array, Floats, take_floats
from app.models.peers import Peers

_PRIORS = frozenset({"popularity", "trending", "profile"})
"""Members that do not look at the history."""


@dataclass(frozen=True, slots=True)
class Blend:
    """`members`: name → parameters. `weights`: name → one weight per knot. `knots`: rising history lengths.

    `cold`: name → weight for items nobody has touched, whatever the length; without it they have the others' weights.
    """

    members: Mapping[str, Mapping[str, object]]
    weights: Mapping[str, tuple[float, ...]]
    knots: tuple[int, ...]
    cold: Mapping[str, float] | None = None

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> Blend:
        """From JSON parameters. Raises InputError where they do not fit together."""
        unknown = set(given) - {"members", "weights", "knots", "cold"}
        members, weights, knots = given.get("members"), given.get("weights"), given.get("knots", [0])
        if unknown or not isinstance(members, Mapping) or not members or "hybrid" in members:
            raise InputError("a hybrid needs members, weights and knots", "members")
        if not isinstance(knots, Sequence) or not isinstance(weights, Mapping) or set(weights) != set(members):
            raise InputError("every member needs its weights", "weights")
        points = tuple(int(knot) for knot in knots)
        if not points or list(points) != sorted(set(points)) or points[0] < 0:
            raise InputError("knots must rise", "knots")
        table = {name: tuple(float(weight) for weight in weights[name]) for name in members}
        if any(len(row) != len(points) or not np.isfinite(row).all() for row in table.values()):
            raise InputError("one finite weight per knot and member", "weights")
        members = {name: dict(parameters) for name, parameters in members.items()}
        return cls(members, table, points, cls._parse_cold(given.get("cold"), members))

    @staticmethod
    def _parse_cold(given: object, members: Mapping[str, object]) -> Mapping[str, float] | None:
        if given is None:
            return None
        if not isinstance(given, Mapping) or not set(given) <= set(members):
            raise InputError("weights of new items are for members", "cold")
        cold = {name: float(given.get(name, 0.0)) for name in members}
        if not np.isfinite(list(cold.values())).all():
            raise InputError("weights of new items are finite", "cold")
        return cold

    def at(self, name: str, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """The weight of a member for histories of these lengths."""
        return np.interp(np.log1p(lengths), np.log1p(self.knots), self.weights[name])


def effective_lengths(
    name: str, lengths: NDArray[np.int64], likes: NDArray[np.int64], signals: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) the lengths at which a member is weighted: those of the histories, if there is a like in them.

    Without any, what is popular stays what it is for a newcomer, however much was disliked, and the personal members
    say no more than after one entry: away from what was disliked.
    """
    return np.where(likes > 0, lengths, 0 if name in _PRIORS else np.minimum(signals, 1))


def _counts(histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) entries with a positive weight, (n,) entries with any."""
    found = []
    for said in (histories.weights > 0, histories.weights != 0):
        so_far = np.concatenate([[0], np.cumsum(said)]).astype(np.int64)
        found.append(so_far[histories.indptr[1:]] - so_far[histories.indptr[:-1]])
    return found[0], found[1]


DEFAULT_BLEND: Mapping[str, object] = MappingProxyType(
    {
        "members": {"ials": {}, "popularity": {}},
        "weights": {"ials": [0.0, 0.5, 1.0], "popularity": [1.0, 0.5, 0.05]},
        "knots": [0, 3, 20],
    }
)
"""What `build("hybrid", {})` makes: selection replaces it wherever there is data to choose on."""


class Hybrid(Recommender, Blended):
    """A weighted sum of recommenders. `members` answer queries for a single type."""

    def __init__(self, name: str, blend: Blend, recommenders: Callable[[], Recommenders]) -> None:
        self.name = name
        self.blend = blend
        self._recommenders = recommenders
        self._members: dict[str, Recommender] = {}
        self._scales: dict[str, float] = {}
        self._peers = Peers.nobody(0)

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object], recommenders: Callable[[], Recommenders]) -> Hybrid:
        """Unfitted, from JSON parameters; members are built when it is fitted."""
        return cls(name, Blend.parse(parameters or DEFAULT_BLEND), recommenders)

    @classmethod
    def restore(
        cls,
        name: str,
        parameters: Mapping[str, object],
        arrays: Mapping[str, Array],
        recommenders: Callable[[], Recommenders],
    ) -> Hybrid:
        """Fitted, from its arrays (`member/array`)."""
        restored = cls.build(name, parameters, recommenders)
        for member, given in restored.blend.members.items():
            prefix = f"{member}/"
            own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            restored._members[member] = recommenders().restore(member, given, own)
            restored._scales[member] = float(take_floats(arrays, f"scale.{member}", 1)[0])
        if len({member.n_items for member in restored._members.values()}) > 1:
            raise ArtifactDamagedError("members", "they know different items")
        restored._peers = Peers.restore(arrays, restored.n_items)
        return restored

    @property
    def n_items(self) -> int:
        return next(iter(self._members.values())).n_items if self._members else 0

    @property
    def members(self) -> Mapping[str, Recommender]:
        """The fitted members by name."""
        return MappingProxyType(self._members)

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        fitted: dict[str, Recommender] = {}
        for position, (name, parameters) in enumerate(self.blend.members.items()):
            member = self._recommenders().build(name, parameters)

            def report(stage: str, fraction: float, done: int = position) -> None:
                progress(stage, (done + fraction) / len(self.blend.members))

            member.fit(dataset, seed=seed, progress=report)
            fitted[name] = member
        self._members = fitted
        self._peers = Peers.learn(dataset)
        # Matrix times vector, many times over: a threaded BLAS below it is slower than one thread.
        with threadpool_limits(1, "blas"):
            self._scales = {name: score_scale(member, dataset.histories) for name, member in fitted.items()}

    def shares(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Mapping[str, Floats]:
        parts = {}
        new = self._new(items)
        likes, signals = _counts(histories)
        for name in self._members:
            lengths = effective_lengths(name, histories.lengths, likes, signals)
            weights = (self.blend.at(name, lengths) / self._scales[name]).astype(np.float32)
            cold = self._cold_weight(name)
            if weights.any() or (cold and new.any()):
                part = self._score(name, histories, items)
                parts[name] = part * (weights[:, None] if cold is None else np.where(new, cold, weights[:, None]))
        return parts

    def _cold_weight(self, name: str) -> np.float32 | None:
        return None if self.blend.cold is None else np.float32(self.blend.cold[name] / self._scales[name])

    def _new(self, items: NDArray[np.int32] | None) -> NDArray[np.bool_]:
        """(n_items or len(items),): which of them nobody has touched."""
        return np.asarray((self._peers.row if items is None else self._peers.row[items]) >= 0)

    def _score(self, name: str, histories: Histories, items: NDArray[np.int32] | None) -> Floats:
        member = self._members[name]
        if isinstance(member, PlacesNew):
            return member.score(histories, items)
        return self._peers.score(member, histories, items)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        width = self.n_items if items is None else len(items)
        total = np.zeros((len(histories), width), dtype=np.float32)
        for part in self.shares(histories, items).values():
            total += part
        return total

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away, the change of weights with the length included."""
        n, (likes, signals) = len(history.items), _counts(history)
        lengths, less_likes = np.full(n + 1, n - 1), np.append(likes - (history.weights > 0), likes)
        less_signals = np.append(signals - (history.weights != 0), signals)
        lengths[-1] = n
        parts = np.zeros((n + 1, len(items)))
        asked, speaks = self._peers.behind(items)
        new = self._new(items)
        for name, member in self._members.items():
            at = effective_lengths(name, lengths, less_likes, less_signals)
            weights = (self.blend.at(name, at) / self._scales[name])[:, None]
            cold = self._cold_weight(name)
            if cold is not None:
                weights = np.where(new, cold, weights)
            if isinstance(member, PlacesNew):
                own = member.contributions(history, items).astype(np.float64)
            else:
                own = np.asarray((speaks @ member.contributions(history, asked).T).T, dtype=np.float64)
            whole = own.sum(axis=0)
            parts[:-1] += weights[-1] * whole - weights[:-1] * (whole - own[:-1])
            parts[-1] += weights[-1] * whole
        parts[-1] -= parts[:-1].sum(axis=0)
        return parts.astype(np.float32)

    def extended(self, features: sp.csr_matrix) -> Hybrid:
        wider = type(self)(self.name, self.blend, self._recommenders)
        wider._members = {name: member.extended(features) for name, member in self._members.items()}
        wider._scales = self._scales
        wider._peers = self._peers.extended(features)
        return wider

    def parameters(self) -> Mapping[str, object]:
        cold = {} if self.blend.cold is None else {"cold": dict(self.blend.cold)}
        return {
            **cold,
            "members": {name: dict(given) for name, given in self.blend.members.items()},
            "weights": {name: list(weights) for name, weights in self.blend.weights.items()},
            "knots": list(self.blend.knots),
        }

    def arrays(self) -> Mapping[str, Array]:
        arrays: dict[str, Array] = self._peers.arrays()
        for name, member in self._members.items():
            arrays |= {f"{name}/{key}": array for key, array in member.arrays().items()}
            arrays[f"scale.{name}"] = np.array([self._scales[name]], dtype=np.float32)
        return arrays

"""How well a recommender does for some of the users, and for some of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.hold_out import HoldOut
from app.application.evaluation.top_lists import hits_of
from app.domain import metrics

_LIGHT, _HEAVY = 10, 100
_HEAD_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Slice:
    """How many users, and metric name → (mean, low, high): 95 % bootstrap intervals."""

    users: int
    figures: Mapping[str, tuple[float, float, float]]

    @classmethod
    def of(cls, per_user: Mapping[str, NDArray[np.float32]], seed: int) -> Slice:
        """From metric name → (n_users,) values of these users; all of one length, not empty."""
        figures = {
            name: (float(values.mean()), *metrics.bootstrap_interval(values, seed=seed))
            for name, values in per_user.items()
        }
        return cls(len(next(iter(per_user.values()))), figures)

    def summary(self) -> dict[str, object]:
        """JSON-serialisable."""
        named = {name: dict(zip(("mean", "low", "high"), figure, strict=True)) for name, figure in self.figures.items()}
        return {"users": self.users, "metrics": named}


def user_slices(hold_out: HoldOut) -> dict[str, NDArray[np.bool_]]:
    """Slices of users that have members: new (no history), light (1–10 entries), medium, heavy (100 and more)."""
    lengths = hold_out.histories.lengths
    slices = {
        "new users": lengths == 0,
        "light users": (lengths > 0) & (lengths <= _LIGHT),
        "medium users": (lengths > _LIGHT) & (lengths < _HEAVY),
        "heavy users": lengths >= _HEAVY,
    }
    return {name: members for name, members in slices.items() if members.any()}


def item_slices(
    lists: NDArray[np.int32], hold_out: HoldOut, counts: NDArray[np.int64], names: Sequence[str], seed: int
) -> dict[str, Slice]:
    """Over the users who have such an item to find, counting only these as right.

    tail: items outside the most popular that together have 80 % of the interactions; new: without any.
    """
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), dtype=bool)
    head[order[reached < _HEAD_SHARE * counts.sum()]] = True
    found = {}
    for name, members in {"tail items": ~head & (counts > 0), "new items": counts == 0}.items():
        kept = sp.csr_matrix(hold_out.relevant.multiply(members[None, :]), dtype=bool)
        kept.eliminate_zeros()
        asked = np.diff(kept.indptr) > 0
        if asked.any():
            hits = hits_of(lists[asked], kept[asked])
            values = metrics.compute_metrics(hits, np.diff(kept.indptr)[asked].astype(np.int64), names)
            found[name] = Slice.of(values, seed)
    return found

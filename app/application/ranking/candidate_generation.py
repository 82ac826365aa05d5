"""Which items are worth scoring when there are too many to score them all.

Every tower searches its vector index, neighbourhoods name the neighbours of recent items, the popular and the new are
always in. The union is then scored by the whole blend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import Histories
from app.domain.interfaces import VectorIndex
from app.domain.recommender import Blended, Neighbourhood, Recommender, Scorer, Tower

OpenIndex = Callable[[NDArray[np.float32]], VectorIndex]

PER_SOURCE = 500
"""Candidates of each tower: five times the default list, so that blending may reorder freely."""

RECENT = 50
"""Newest entries of a history whose neighbours are candidates."""

MAX_NEW = 5_000
"""Items newer than the indexes that are scored directly; with more, the indexes are built anew."""


DIRECT_BELOW = 20_000
"""Where filters leave fewer items than this, scoring all of those is exact and takes a few milliseconds."""


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """Indexes over the items a model was trained on; `popular` (int32) are always candidates.

    For lists out of at most `direct_below` items it is not worth asking.
    """

    n_indexed: int
    indexes: Mapping[str, VectorIndex] = field(default_factory=dict)
    popular: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    direct_below: int = DIRECT_BELOW

    def propose(self, scorer: Scorer, history: Histories, k: int, excluded: NDArray[np.int32]) -> NDArray[np.int32]:
        """Distinct positions worth scoring, ascending; about `k` of each source that are not in `excluded`."""
        found = [self.popular, np.arange(self.n_indexed, scorer.n_items, dtype=np.int32)]
        for name, member in _parts(scorer).items():
            index = self.indexes.get(name)
            if index is not None and isinstance(member, Tower) and len(history.items):
                found.append(index.search(member.fold_in(history), k, excluded)[0][0])
            elif isinstance(member, Neighbourhood):
                found.append(_neighbours(member, history))
        positions = np.unique(np.concatenate(found))
        return positions[(positions >= 0) & ~np.isin(positions, excluded)].astype(np.int32)


def index_towers(recommender: Recommender, open_index: OpenIndex, direct_below: int = DIRECT_BELOW) -> CandidateSource:
    """Build an index per tower, and rank for nobody to learn what is popular. Blocking: seconds for a million items."""
    indexes = {
        name: open_index(member.item_vectors)
        for name, member in _parts(recommender).items()
        if isinstance(member, Tower)
    }
    nobody = recommender.score(Histories.single([], [], [], 0.0))[0]
    k = min(PER_SOURCE, len(nobody))
    popular = np.argpartition(-nobody, k - 1)[:k] if k else np.empty(0)
    return CandidateSource(recommender.n_items, indexes, np.sort(popular).astype(np.int32), direct_below)


def index_facts(
    recommender: Recommender, open_index: OpenIndex | None, above: int
) -> Mapping[str, Mapping[str, object]]:
    """Tower → what its index says of itself, recall included; nothing where a server would build none. Blocking."""
    if open_index is None or recommender.n_items <= above:
        return {}
    return {name: dict(index.facts) for name, index in index_towers(recommender, open_index).indexes.items()}


def _parts(scorer: Scorer) -> Mapping[str, Scorer]:
    return scorer.members if isinstance(scorer, Blended) else {scorer.name: scorer}


def _neighbours(member: Neighbourhood, history: Histories) -> NDArray[np.int32]:
    rows = history.items[:RECENT]
    return np.asarray(member.neighbours[rows].indices, dtype=np.int32)

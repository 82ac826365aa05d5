"""Vector search, on FAISS: exact by default, approximate for catalogs too large for that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app import telemetry
from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import VectorIndex

log = telemetry.get_logger(__name__)

INDEX_KINDS = ("flat", "hnsw", "ivf", "sq", "pq")
RECALL = "recall@100"
"""The fact by which an index is judged."""


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """`kind` is one of KINDS, or `auto`: flat up to `approximate_above` vectors, `ivf` beyond.

    An index that finds less than `min_recall` of what flat search finds is not used.
    """

    kind: str = "auto"
    approximate_above: int = 500_000
    min_recall: float = 0.9


def open_vector_index(kind: str, vectors: NDArray[np.float32]) -> VectorIndex:
    """Build an index over (n, factors) float32 vectors: `flat`, `hnsw`, `ivf`, `sq` (8 bits) or `pq`. Blocking.

    The approximate ones measure their recall against flat search while they are built.
    """
    if kind not in INDEX_KINDS:
        raise ConfigurationError("ENCORE_VECTOR_INDEX", f"must be one of auto, {', '.join(INDEX_KINDS)}")
    from app.infrastructure.vector_store.faiss_index import FaissIndex

    return FaissIndex.build(kind, vectors)


def open_good_index(policy: IndexPolicy, vectors: NDArray[np.float32]) -> VectorIndex:
    """The index the policy asks for if it finds enough, else a flat one; that is counted and logged. Blocking.

    The facts of a flat one that stands in say so: `refused`, the kind, and `refused_recall`.
    """
    kind = policy.kind
    if kind == "auto":
        kind = "flat" if len(vectors) <= policy.approximate_above else "ivf"
    index = open_vector_index(kind, vectors)
    recall = index.facts[RECALL]
    assert isinstance(recall, float)  # every build measures it
    if recall >= policy.min_recall or kind == "flat":
        return index
    telemetry.VECTOR_INDEXES_REFUSED.labels(kind).inc()
    log.warning(
        "vector_index_refused", kind=kind, recall=round(recall, 4), needed=policy.min_recall, items=len(vectors)
    )
    from app.infrastructure.vector_store.faiss_index import FaissIndex

    return FaissIndex.build("flat", vectors, {"refused": kind, "refused_recall": recall})

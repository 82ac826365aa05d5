"""Vector search, on FAISS: exact by default, approximate for catalogues too large for that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import VectorIndex

KINDS = ("flat", "hnsw", "ivf", "sq", "pq")


def open_vector_index(kind: str, vectors: NDArray[np.float32]) -> VectorIndex:
    """Build an index over (n, factors) float32 vectors: `flat`, `hnsw`, `ivf`, `sq` (8 bits) or `pq`. Blocking.

    The approximate ones measure their recall against flat search while they are built.
    """
    if kind not in KINDS:
        raise ConfigurationError("ENCORE_VECTOR_INDEX", f"must be one of {', '.join(KINDS)}")
    from app.infrastructure.vector_store.faiss_index import FaissIndex

    return FaissIndex.build(kind, vectors)

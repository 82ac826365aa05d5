"""Maximum inner product search on FAISS, built in memory from verified vectors: no index file is ever parsed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from app.domain.interfaces import VectorIndex

faiss: Any = _faiss
"""Its stubs lack most of what the module exports."""

_SAMPLE = 200
_RECALL_AT = 100
_PROBED_SHARE = 0.12
"""Share of IVF lists visited per query. What recall that gives is measured at every build, on the vectors at hand."""

Vectors = NDArray[np.float32]
Positions = NDArray[np.int32]


class FaissIndex(VectorIndex):
    """A FAISS index and what was measured of it."""

    def __init__(self, kind: str, index: Any, facts: Mapping[str, object]) -> None:
        self._kind = kind
        self._index = index
        self._facts = facts

    @classmethod
    def build(cls, kind: str, vectors: Vectors, more: Mapping[str, object] = MappingProxyType({})) -> FaissIndex:
        """Build over (n, factors) float32; `more` goes to its facts. Deterministic: FAISS trains with a fixed seed."""
        # OpenMP threads in a server fight with its event loop, and a process that used them hangs in its forks.
        faiss.omp_set_num_threads(1)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        index = _made(kind, *vectors.shape)
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        built = cls(kind, index, {})
        recall = 1.0 if kind == "flat" else built._recall(vectors)
        size = len(faiss.serialize_index(index)) if kind != "flat" else vectors.nbytes
        built._facts = {"kind": kind, "size": len(vectors), "bytes": int(size), f"recall@{_RECALL_AT}": recall, **more}
        return built

    def search(
        self, queries: Vectors, k: int, excluded: Positions | None = None
    ) -> tuple[Positions, NDArray[np.float32]]:
        n_excluded = 0 if excluded is None else len(np.unique(excluded))
        wanted = min(k + n_excluded, self._index.ntotal)
        if not wanted:
            return np.full((len(queries), k), -1, dtype=np.int32), np.full((len(queries), k), -np.inf, np.float32)
        scores, found = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32), wanted, params=self._parameters(wanted)
        )
        positions = found.astype(np.int32)
        if excluded is not None and n_excluded:
            positions[np.isin(positions, excluded)] = -1
        return _filled(positions, np.where(positions < 0, -np.inf, scores).astype(np.float32), k)

    @property
    def facts(self) -> Mapping[str, object]:
        return self._facts

    def _parameters(self, wanted: int) -> Any:
        if self._kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(128, wanted * 2))
        if self._kind in {"ivf", "pq"}:
            nlist = self._index.nlist
            return faiss.SearchParametersIVF(nprobe=max(8, int(nlist * _PROBED_SHARE)))
        return None

    def _recall(self, vectors: Vectors) -> float:
        """Share of the true best 100 that are found, for queries that look like folded-in users: sums of items."""
        random = np.random.default_rng(0)
        picked = random.integers(0, len(vectors), size=(min(_SAMPLE, len(vectors)), 5))
        queries = vectors[picked].sum(axis=1)
        k = min(_RECALL_AT, len(vectors))
        truth = np.argpartition(-(queries @ vectors.T), k - 1, axis=1)[:, :k]
        found, _scores = self.search(queries, k)
        hits = [len(np.intersect1d(row, best)) for row, best in zip(found, truth, strict=True)]
        return float(np.mean(hits) / k)


def _made(kind: str, n: int, factors: int) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    # https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index: 4·√n lists below a million.
    nlist = int(max(1, min(4 * np.sqrt(n), n / 39)))
    match kind:
        case "hnsw":
            return faiss.IndexHNSWFlat(factors, 32, metric)
        case "ivf":
            return faiss.index_factory(factors, f"IVF{nlist},Flat", metric)
        case "sq":
            return faiss.IndexScalarQuantizer(factors, faiss.ScalarQuantizer.QT_8bit, metric)
        case "pq":
            # Two dimensions per byte; FAISS pads nothing, so the number of parts must divide the dimension.
            parts = max(part for part in range(1, factors // 2 + 2) if factors % part == 0)
            return faiss.index_factory(factors, f"IVF{nlist},PQ{parts}x{8 if n >= 9_984 else 4}", metric)
        case _:
            return faiss.IndexFlatIP(factors)


def _filled(positions: Positions, scores: NDArray[np.float32], k: int) -> tuple[Positions, NDArray[np.float32]]:
    """The first k that are left in each row, best first, -1 where there are fewer."""
    # A stable sort by "missing" keeps the order of what is there and moves the holes to the end.
    order = np.argsort(positions < 0, axis=1, kind="stable")[:, :k]
    positions, scores = np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)
    short = k - positions.shape[1]
    if short > 0:
        positions = np.pad(positions, ((0, 0), (0, short)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
    return positions, scores

"""Approximate indexes beside the flat one: recall, speed, size and the time to build.

python -m benchmarks.vector_index [items …]        default 50000 200000

Generated item vectors of 64 factors in groups, their lengths spread like popularity; queries are what folded-in users
look like: sums of a few items. Each search asks for 500 and leaves out a history of 200, as the miss path does.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from app.infrastructure.vector_store import INDEX_KINDS, open_vector_index
from benchmarks.machine import report

BENCHMARK = "vector index"
FACTORS, GROUPS, QUERIES, K, HISTORY = 64, 200, 100, 500, 200


def generated(n: int) -> NDArray[np.float32]:
    """(n, 64) float32."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(GROUPS, FACTORS))
    vectors = centres[random.integers(0, GROUPS, n)] + 0.7 * random.normal(size=(n, FACTORS))
    lengths = random.lognormal(0.0, 0.5, n) / np.linalg.norm(vectors, axis=1)
    return np.asarray(vectors * lengths[:, None], dtype=np.float32)


def measure(n: int) -> None:
    """Every kind at one size."""
    vectors = generated(n)
    random = np.random.default_rng(1)
    queries = vectors[random.integers(0, n, (QUERIES, 5))].sum(axis=1)
    seen = random.choice(n, HISTORY, replace=False).astype(np.int32)
    flat = open_vector_index("flat", vectors)
    truth = [flat.search(query[None], K, seen)[0][0] for query in queries]
    for kind in INDEX_KINDS:
        began = time.thread_time()
        index = open_vector_index(kind, vectors)
        built = time.thread_time() - began
        began = time.thread_time()
        found = [index.search(query[None], K, seen)[0][0] for query in queries]
        searched = time.thread_time() - began
        recall = np.mean([len(np.intersect1d(one, right)) / K for one, right in zip(found, truth, strict=True)])
        filled = min(int((one >= 0).sum()) for one in found)
        told = {"kind": kind, "items": n, "bytes": index.facts["bytes"], "filled": filled}
        report(BENCHMARK, "search", searched / QUERIES * 1_000, "ms", **told)
        report(BENCHMARK, f"recall@{K}", float(recall), "", at_build=index.facts["recall@100"], **told)
        report(BENCHMARK, "build", built, "s", **told)


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ("50000", "200000")):
        measure(size)

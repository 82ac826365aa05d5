"""What lists are like besides being right: spread over the catalog, novelty, diversity, lean towards the popular."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.metrics import gini

_SAMPLE = 500
"""Users whose lists are compared item by item for diversity."""


def list_figures(
    lists: NDArray[np.int32], counts: NDArray[np.int64], n_users: int, features: sp.csr_matrix | None
) -> dict[str, float]:
    """Figures of (n, depth) lists of item positions, -1 for no item; `counts`: (n_items,) interactions in training.

    coverage: share of the catalog in any list. gini: 0 even, 1 one item only. novelty: mean -log2 of the share of
    users who have the item (Zhou et al. 2010, Laplace-smoothed). popularity_lift: mean interactions of what is listed
    over mean interactions of what is interacted with, minus 1 (Abdollahpouri et al. 2019). diversity: mean 1 - cosine
    of the features of two items in a list, where there are features.
    """
    listed = lists[lists >= 0]
    shown = np.bincount(listed, minlength=len(counts))
    figures = {
        "coverage": float((shown > 0).mean()) if len(shown) else 0.0,
        "attainable_coverage": min(1.0, lists.size / max(len(counts), 1)),
        "gini": gini(shown),
    }
    if len(listed):
        share = (counts[listed] + 1.0) / (n_users + 1.0)
        figures["novelty"] = float(-np.log2(np.minimum(share, 1.0)).mean())
    usual = float((counts.astype(np.float64) ** 2).sum() / max(counts.sum(), 1))
    if len(listed) and usual > 0:
        figures["popularity_lift"] = float(counts[listed].mean() / usual - 1.0)
    if features is not None:
        figures["diversity"] = diversity(lists, features)
    return figures


def diversity(lists: NDArray[np.int32], features: sp.csr_matrix) -> float:
    """Mean 1 - cosine over pairs within lists, for an even sample of users; 0 where no list has two items."""
    norms = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())
    unit = sp.csr_matrix(sp.diags(np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)) @ features)
    values = []
    for row in np.unique(np.linspace(0, len(lists) - 1, min(_SAMPLE, len(lists))).astype(int)):
        chosen = lists[row][lists[row] >= 0]
        if len(chosen) > 1:
            # The sum of all pairwise cosines is the squared length of the sum of the unit vectors.
            total = np.asarray(unit[chosen].sum(axis=0)).ravel()
            own = float((unit[chosen].multiply(unit[chosen])).sum())
            pairs = len(chosen) * (len(chosen) - 1)
            values.append(1.0 - (float(total @ total) - own) / pairs)
    return float(np.mean(values)) if values else 0.0

"""Directed transitions between items: what came within a few steps after what, as a sparse matrix.

weight(a → b) = Σ step^(lag - 1) over all places where b came `lag` ≤ window steps after a in the likes of a user, over
count(a) ** alpha · count(b) ** beta. Steps of the same time have no order and count half in either direction. It costs
window · events, whatever the size of the catalog: where the dense sequence does not fit, order still counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from app.domain.dataset import Dataset
from app.models.sequence_moments import Steps


@dataclass(frozen=True, slots=True)
class TransitionParameters:
    """`step`: how much less a step further counts in training; `decay`: the same in a history that is ranked for."""

    neighbours: int = 200
    window: int = 5
    step: float = 0.6
    decay: float = 0.6
    alpha: float = 0.6
    beta: float = 0.3


def transition_weights(dataset: Dataset, parameters: TransitionParameters) -> sp.csr_matrix:
    """(n_items, n_items) float32 CSR without a diagonal. Raises NotEnoughDataError where nobody took two steps."""
    steps = Steps.of(dataset.histories)
    shape = (dataset.n_items, dataset.n_items)
    followed = sp.csr_matrix(shape, dtype=np.float32)
    # Lag by lag: all pairs of a wide window at once would take more memory than everything else in a training.
    for lag in range(1, parameters.window + 1):
        before, after = np.arange(len(steps.item) - lag), np.arange(lag, len(steps.item))
        kept = (steps.user[before] == steps.user[after]) & (steps.item[before] != steps.item[after])
        before, after = before[kept], after[kept]
        weight = np.full(len(before), parameters.step ** (lag - 1), dtype=np.float32)
        tied = steps.time[before] == steps.time[after]
        weight[tied] *= np.float32(0.5)
        sources = np.concatenate([steps.item[before], steps.item[after[tied]]]).astype(np.int32)
        targets = np.concatenate([steps.item[after], steps.item[before[tied]]]).astype(np.int32)
        cells = (np.concatenate([weight, weight[tied]]), (sources, targets))
        followed = followed + sp.csr_matrix(cells, shape=shape)
    counts = np.maximum(np.bincount(steps.item, minlength=dataset.n_items), 1).astype(np.float64)
    normal = sp.diags(counts**-parameters.alpha) @ followed @ sp.diags(counts**-parameters.beta)
    return sp.csr_matrix(normal, dtype=np.float32)

"""Fold-in against a refit: how much is lost by not training again when users and items are new.

A tenth of the users and a tenth of the items are kept out of one fit and folded in; another fit knows them. Both rank
the same held-out pairs: of the users kept out among all items, and of everybody among the items kept out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.hold_out import take_rows
from app.application.evaluation.selection import Recipe
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain.dataset import Dataset, Histories
from app.domain.metrics import ndcg
from app.domain.recommender import ProgressCallback, Recommender, Recommenders
from app.domain.splits import keep_entries, validation_cut

_SHARE = 10
_DEPTH = 10
_USERS = 2_000


def judge_fold_in(
    dataset: Dataset, recommenders: Recommenders, recipe: Recipe, *, seed: int, progress: ProgressCallback
) -> dict[str, object]:
    """NDCG@10 of fold-in and refit, for new users and for new items (None without item features)."""
    cut = validation_cut(dataset, seed=seed)
    rng = np.random.default_rng(seed)
    new_users = np.zeros(dataset.n_users, dtype=bool)
    new_users[rng.permutation(dataset.n_users)[: max(1, dataset.n_users // _SHARE)]] = True

    def fitted(histories: Histories) -> Recommender:
        recommender = recommenders.build(recipe.name, recipe.parameters)
        recommender.fit(replace(dataset, histories=histories), seed=seed, progress=progress)
        return recommender

    whole = fitted(cut.train.histories)
    rows_of = np.repeat(np.arange(dataset.n_users), cut.train.histories.lengths)
    without_users = fitted(keep_entries(cut.train.histories, ~new_users[rows_of]))
    asked = np.flatnonzero(new_users & (cut.targets.lengths > 0))[:_USERS]
    found: dict[str, object] = {
        "users": len(asked),
        "users_folded_in": _value(without_users, cut.train.histories, cut.targets, asked, None),
        "users_refit": _value(whole, cut.train.histories, cut.targets, asked, None),
    }
    if dataset.item_features is not None:
        new_items = np.zeros(dataset.n_items, dtype=bool)
        new_items[rng.permutation(dataset.n_items)[: max(1, dataset.n_items // _SHARE)]] = True
        rest = keep_entries(cut.train.histories, ~new_items[cut.train.histories.items])
        targets = keep_entries(cut.targets, new_items[cut.targets.items])
        asked = np.flatnonzero(targets.lengths > 0)[:_USERS]
        found |= {
            "items": int(new_items.sum()),
            "items_folded_in": _value(fitted(rest), rest, targets, asked, new_items),
            "items_refit": _value(whole, rest, targets, asked, new_items),
        }
    return found


def _value(
    recommender: Recommender,
    histories: Histories,
    targets: Histories,
    asked: NDArray[np.int64],
    allowed: NDArray[np.bool_] | None,
) -> float | None:
    if not len(asked):
        return None
    lists, _ = top_lists(recommender, take_rows(histories, asked), _DEPTH, allowed=allowed)
    relevant = sp.csr_matrix(take_rows(targets, asked).matrix(recommender.n_items), dtype=bool)
    values = ndcg(hits_of(lists, relevant), np.diff(relevant.indptr).astype(np.int64), _DEPTH)
    return round(float(values.mean()), 5)

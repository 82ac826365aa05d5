"""The next Serving in the making: a model, the catalog beside it, and the model's view of items it never saw.

Everything here is blocking computation on immutable values: run it in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import scipy.sparse as sp

from app.application.artifacts.model_artifacts import LoadedModel
from app.application.ranking.candidate_generation import MAX_NEW, CandidateSource, OpenIndex, index_towers
from app.application.ranking.list_ranking import RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.domain.catalog_view import CatalogView
from app.domain.dataset import IdMap
from app.domain.entities import Item, ModelVersion
from app.domain.exceptions import ArtifactDamagedError
from app.domain.features import encode_items
from app.domain.list_query import Filters, ModelRef
from app.domain.recommender import Recommender
from app.domain.reranking import RankingPolicy, resolve_rules

_CANARY_LENGTH = 3
_CANARY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ServingBuilder:
    """`newer` is (len(view) - n_model, n_features) float32 CSR: the features of the items the model does not know.

    `recommender` is the model's, extended by them.
    """

    view: CatalogView
    newer: sp.csr_matrix
    index_above: int
    open_index: OpenIndex
    loaded: LoadedModel | None = None
    model: ModelRef | None = None
    recommender: Recommender | None = None
    candidates: CandidateSource | None = None
    ranking_policy: RankingPolicy = field(default_factory=RankingPolicy)
    may_return: bool = False

    @classmethod
    def empty(cls, index_above: int, open_index: OpenIndex, ranking_policy: RankingPolicy) -> ServingBuilder:
        """No model and no catalog yet."""
        return cls(
            CatalogView.of_model(IdMap(())), _no_features(0), index_above, open_index, ranking_policy=ranking_policy
        )

    @property
    def serving(self) -> ServingState:
        """What requests see of this draft."""
        names = () if self.loaded is None else self.loaded.user_feature_names
        rules = resolve_rules(self.ranking_policy.rules, self.view)
        return ServingState(
            self.view,
            self.model,
            self.recommender,
            None,
            names,
            self.candidates,
            self.ranking_policy,
            rules,
            self.ranking_policy.fingerprint,
            self.may_return,
        )

    def with_model(self, loaded: LoadedModel, version: ModelVersion) -> ServingBuilder:
        """This model, with the catalog as far as it is known to be laid out the same way; else with none of it."""
        model = ModelRef(version.model_id, version.model_type, version.version)
        if self._fits(loaded):
            draft = replace(self, loaded=loaded, model=model, candidates=None)
        else:
            view = CatalogView.of_model(loaded.item_ids)
            newer = _no_features(len(loaded.feature_names))
            draft = ServingBuilder(
                view, newer, self.index_above, self.open_index, loaded, model, ranking_policy=self.ranking_policy
            )
        return replace(draft, may_return=may_return(version))._extended()

    def updated(self, upserted: Sequence[Item], removed: Collection[str], revision: int) -> ServingBuilder:
        """After these catalog changes."""
        view = self.view.updated(upserted, removed, revision)
        if self.loaded is None:
            return replace(self, view=view)
        newer = _replaced(self.newer, view, upserted, self.loaded.feature_names)
        draft = replace(self, view=view, newer=newer)
        return draft if newer is self.newer else draft._extended()

    def checked(self) -> ServingBuilder:
        """Ready to serve: with indexes where they are needed, and lists that can be made. Raises ArtifactDamagedError.

        The artifact's own canary has passed; this one asks for lists, over all items, the new ones included.
        """
        if self.recommender is None:
            return self
        draft = self._indexed()
        if self.recommender.n_items != len(self.view):
            raise ArtifactDamagedError("canary", "the catalog does not fit the model")
        for length in (0, _CANARY_LENGTH):
            history = tuple((item_id, 1.0, 0.0) for item_id in self.view.ids.ids[:length])
            made = rank_list(draft.serving, RankingTask("hybrid", Filters(), history, 10), _CANARY_MOMENT)
            if not np.isfinite(made.scores).all():
                raise ArtifactDamagedError("canary", "scores are not finite")
        return draft

    def _fits(self, loaded: LoadedModel) -> bool:
        known = self.loaded
        return (
            known is not None
            and known.feature_names == loaded.feature_names
            and known.item_ids.ids == loaded.item_ids.ids
        )

    def _extended(self) -> ServingBuilder:
        assert self.loaded is not None  # only called where there is a model
        base = self.loaded.recommender
        return replace(self, recommender=base.extended(self.newer) if self.newer.shape[0] else base)

    def _indexed(self) -> ServingBuilder:
        assert self.recommender is not None
        n = len(self.view)
        if n <= self.index_above:
            return self if self.candidates is None else replace(self, candidates=None)
        if self.candidates is not None and n - self.candidates.n_indexed <= MAX_NEW:
            return self
        return replace(self, candidates=index_towers(self.recommender, self.open_index))


def may_return(version: ModelVersion) -> bool:
    """Whether the model's training found that people come back to what they have (evaluation/repeats.py)."""
    found = version.metrics.get("repeats")
    return isinstance(found, Mapping) and found.get("may_return") is True


def _no_features(n_features: int) -> sp.csr_matrix:
    return sp.csr_matrix((0, n_features), dtype=np.float32)


def _replaced(newer: sp.csr_matrix, view: CatalogView, upserted: Sequence[Item], names: Sequence[str]) -> sp.csr_matrix:
    """The features with the rows of these items written anew; the same object if the model knows all of them."""
    changed: dict[int, Item] = {}
    for item in upserted:
        position = view.ids.position(item.item_id)
        assert position is not None  # the view was updated by these items
        if position >= view.n_model:
            changed[position - view.n_model] = item
    if not changed:
        return newer
    order = np.arange(len(view) - view.n_model)
    order[list(changed)] = newer.shape[0] + np.arange(len(changed))
    return sp.vstack([newer, encode_items(list(changed.values()), names)], format="csr")[order]

"""What one request needs of model and catalog: replaced as a whole, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.application.ranking.candidate_generation import CandidateSource
from app.domain.catalog_view import CatalogView
from app.domain.keys import key_text
from app.domain.list_query import Filters, ModelRef
from app.domain.recommender import MEMBER_OF_TYPE, Blended, Recommender, Scorer
from app.domain.reranking import NO_RULES, RankingPolicy, ResolvedRules

SOURCES: Mapping[str, str] = MappingProxyType({member: source for source, member in MEMBER_OF_TYPE.items()})
"""Member → what an answer calls it."""

PRIORS: Mapping[str, str] = MappingProxyType({"popularity": "popular", "trending": "popular", "profile": "profile"})
"""Members that do not look at histories → the kind of reason they are."""


@dataclass(frozen=True, slots=True)
class ServingState:
    """A request takes this reference once, so that every item of its answer is explained by the model it names.

    `recommender` scores the positions of `view`; None: no model; `popularity_fallback`, if given, scores them.
    `label` names the model and the state of the catalog: lists made under another label are never shown.
    `ranking_policy`: what the settings say about all lists; `rules`: its rules resolved in this view;
    `policy_fingerprint`: its name in labels. `may_return`: the model's training found that people come back to items.
    """

    view: CatalogView
    model: ModelRef | None = None
    recommender: Recommender | None = None
    popularity_fallback: Scorer | None = None
    user_feature_names: Sequence[str] = ()
    candidates: CandidateSource | None = None
    ranking_policy: RankingPolicy = field(default_factory=RankingPolicy)
    rules: ResolvedRules = NO_RULES
    policy_fingerprint: str = ""
    may_return: bool = False

    @property
    def label(self) -> str:
        """Cheap enough to build for each request."""
        model = None if self.model is None else self.model.model_id
        return key_text(model, self.view.lists_revision, self.policy_fingerprint)

    def allowed(self, filters: Filters, now: datetime) -> NDArray[np.bool_]:
        """(n,) which items of the view may be in a list at `now`: by the filters, and by the service-wide rules."""
        allowed = self.view.allowed(filters, now)
        for hidden in self.rules.hidden_at(now.timestamp()):
            allowed[hidden] = False
        return allowed

    @property
    def excludes_seen(self) -> bool:
        """Whether lists leave out what was seen, where the request does not say."""
        wanted = self.ranking_policy.exclude_seen
        return not self.may_return if wanted == "auto" else wanted == "always"

    @property
    def members(self) -> Mapping[str, Recommender]:
        """Members of a blend by name; a model that is not a blend has none."""
        return self.recommender.members if isinstance(self.recommender, Blended) else {}

    def answering(self, wanted: str) -> tuple[Recommender | None, str | None]:
        """(the part of the model that answers this type, reason code if that is another than asked for)."""
        model = self.recommender
        trained_for = None if self.model is None else self.model.model_type
        if model is None or wanted in {"hybrid", model.name, trained_for}:
            return model, None
        name = MEMBER_OF_TYPE.get(wanted, wanted)
        if name == model.name:
            return model, None
        member = self.members.get(name)
        return (model, "model_has_no_such_member") if member is None else (member, None)

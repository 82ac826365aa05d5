"""What one request needs of model and catalogue: replaced as a whole, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.application.recommending.candidates import CandidateSource
from app.application.recommending.lists import Filters, ModelRef
from app.application.recommending.shaping import NONE, House, Matched
from app.application.serving.catalogue_view import CatalogueView
from app.domain.keys import key_text
from app.domain.recommender import Blended, Recommender, Scorer

MEMBERS: Mapping[str, str] = MappingProxyType(
    {"collaborative": "ials", "content": "content", "sequential": "sequence", "popular": "popularity"}
)
"""What `type` asks for → the member that answers; `hybrid` is the whole blend."""

SOURCES: Mapping[str, str] = MappingProxyType({member: source for source, member in MEMBERS.items()})
"""Member → what an answer calls it."""

PRIORS: Mapping[str, str] = MappingProxyType({"popularity": "popular", "trending": "popular", "profile": "profile"})
"""Members that do not look at histories → the kind of reason they are."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A request takes this reference once, so that every item of its answer is explained by the model it names.

    `recommender` scores the positions of `view`; None: there is no model, and `stand_in` scores them, if there is one.
    `label` names the model and the state of the catalogue: lists made under another label are never shown. `house` is
    what the settings say about all lists, `rules` its rules with their items in this view, `mark` the name of it all.
    """

    view: CatalogueView
    model: ModelRef | None = None
    recommender: Recommender | None = None
    stand_in: Scorer | None = None
    user_feature_names: Sequence[str] = ()
    candidates: CandidateSource | None = None
    house: House = field(default_factory=House)
    rules: Matched = NONE
    mark: str = ""

    @property
    def label(self) -> str:
        """Cheap enough to build for each request."""
        model = None if self.model is None else self.model.model_id
        return key_text(model, self.view.lists_revision, self.mark)

    def allowed(self, filters: Filters, now: datetime) -> NDArray[np.bool_]:
        """(n,) which items of the view may be in a list at `now`: by the filters, and by the rules of the house."""
        allowed = self.view.allowed(filters, now)
        for hidden in self.rules.hidden_at(now.timestamp()):
            allowed[hidden] = False
        return allowed

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
        name = MEMBERS.get(wanted, wanted)
        if name == model.name:
            return model, None
        member = self.members.get(name)
        return (model, "model_has_no_such_member") if member is None else (member, None)

"""Which model answers: the champion of the type asked for, a model an arm pins, or a canary's candidate."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.application.serving.model_server import ModelServer
from app.application.serving.pinned_models import PinnedModels
from app.domain.list_query import ListQuery


class ModelRouting:
    """`main` follows the model type that answers by default, `by_type` those trained for one type of query alone."""

    def __init__(
        self,
        main: ModelServer,
        by_type: Mapping[str, ModelServer] = MappingProxyType({}),
        pinned: PinnedModels | None = None,
    ) -> None:
        self.main = main
        self._by_type = by_type
        self._pinned = pinned

    def champion(self, wanted: str) -> ModelServer:
        """What answers this type for everybody."""
        server = self._by_type.get(wanted)
        return self.main if server is None or server.current.model is None else server

    def of(self, query: ListQuery) -> ModelServer:
        """What answers this query of this user. A pinned model that is not loaded yet is not waited for."""
        champion = self.champion(query.type)
        if self._pinned is None:
            return champion
        if query.model_id is not None:
            return self._pinned.of(query.model_id) or champion
        model = champion.current.model
        return champion if model is None else self._pinned.candidate(model.model_id, query.user_id) or champion

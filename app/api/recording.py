"""Acts that come in by HTTP, for the audit log: who asks, from where, by which request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from app.api.request_context import RequestContext
from app.api.security import RecordedAct
from app.application.audit_trail import AuditTrail
from app.domain.audit import AuditStore
from app.domain.audit_scope import Origin, asked_from
from app.domain.pseudonyms import address_pseudonym, subject_pseudonym

OWNER = "user_id"
"""The path parameter that names a person."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Puts what routes do on record. `secret`: what addresses and people are hashed with."""

    store: AuditStore
    clock: Callable[[], datetime]
    secret: bytes

    def origin(self, call: RequestContext) -> Origin:
        """Where a request comes from, as its rows have it."""
        key_id = None if call.principal is None else call.principal.key_id
        return Origin(key_id, address_pseudonym(self.secret, call.address), call.request_id)

    @asynccontextmanager
    async def of(
        self, act: RecordedAct, call: RequestContext, path_parameters: Mapping[str, str]
    ) -> AsyncIterator[None]:
        """While the route does it. Raises DatabaseUnavailableError, and then nothing is done."""
        principal = call.principal
        target = "" if act.parameter is None else path_parameters[act.parameter]
        actor = "nobody" if principal is None else principal.limit_key
        if act.parameter == OWNER:
            is_self = principal is not None and principal.subject == target and not principal.is_service
            target = f"user:{subject_pseudonym(self.secret, target)}"
            actor = "user:self" if is_self else actor
        with asked_from(self.origin(call)):
            async with AuditTrail(self.store, self.clock, actor).change(act.name, target):
                yield

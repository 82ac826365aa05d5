"""A span for each statement of a traced request, by SQLAlchemy's own events: every driver, nothing while not traced.

The statement itself is left out, and so are its parameters: `UPDATE features.users` says enough, and names nobody.
https://opentelemetry.io/docs/specs/semconv/database/database-spans/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from sqlalchemy.engine import Engine, ExceptionContext

from app import spans
from app.spans import NO_SPAN

_TABLE = re.compile(r"\b(?:from|into|update|join)\s+\"?([a-z_]+)\"?(?:\.\"?([a-z_0-9]+)\"?)?", re.IGNORECASE)
_HELD = "_encore_span"


def trace_statements(engine: Engine) -> None:
    """Make spans of what this engine executes, where it is part of a recorded trace."""
    system = engine.dialect.name

    def before(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: bool) -> None:
        if context is not None and spans.is_collecting() and trace.get_current_span().is_recording():
            setattr(context, _HELD, spans.begun(*_described(system, statement)))

    def after(_c: Any, _cursor: Any, _statement: str, _p: Any, context: Any, _many: bool) -> None:
        made = getattr(context, _HELD, None)
        if made is not None:
            made.end()

    def on_error(failure: ExceptionContext) -> None:
        made = getattr(failure.execution_context, _HELD, None)
        if made is not None:
            spans.failed(made, type(failure.original_exception).__name__)
            made.end()

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)
    sa.event.listen(engine, "handle_error", on_error)


def statement_span(system: str, statement: str) -> AbstractContextManager[Span | None]:
    """The same for a statement that does not go through an engine."""
    return NO_SPAN if not spans.is_collecting() else spans.span(*_described(system, statement))


def _described(system: str, statement: str) -> tuple[str, SpanKind, Mapping[str, str]]:
    summary = summary_of(statement)
    operation = summary.partition(" ")[0]
    facts = {"db.system.name": system, "db.operation.name": operation, "db.query.summary": summary}
    return summary, SpanKind.CLIENT, facts


def summary_of(statement: str) -> str:
    """The operation and the first table: all that a span says of a statement."""
    words = statement.split(None, 1)
    operation = words[0].upper() if words and words[0].isalpha() else "SQL"
    found = _TABLE.search(statement)
    return (
        operation
        if found is None
        else f"{operation} {'.'.join(part for part in found.groups() if part and part != 'main')}"
    )

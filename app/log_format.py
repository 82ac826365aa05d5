"""How log lines look: one JSON object a line, or readable text for a terminal; secrets and control characters never."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Literal, TextIO

import structlog
from opentelemetry import trace

from app.domain.masking import MASK, masked, names_a_secret

MAX_LOGGED_CHARACTERS = 8_192
"""Longer values are cut: a log line must not become the way to fill a disk."""

Event = MutableMapping[str, object]


def configure_logging(
    level: str = "INFO", style: Literal["json", "console"] = "json", stream: TextIO | None = None
) -> None:
    """Send structlog and stdlib logging through one handler: a JSON object a line, or readable text for a terminal."""
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests and the command line configure more than once
    )
    render = (
        _render_json
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _without_secrets,
            render,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "asyncio"):  # they announce their own start, in every process
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _shared_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _without_colour,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _with_trace,
    ]


def _with_trace(_logger: object, _method: str, event: Event) -> Event:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def _without_colour(_logger: object, _method: str, event: Event) -> Event:
    """uvicorn sends each of its messages twice: once more for terminals, with escape sequences."""
    event.pop("color_message", None)
    return event


def _without_secrets(_logger: object, _method: str, event: Event) -> Event:
    return {key: MASK if names_a_secret(key) else _safe(value) for key, value in event.items()}


def _safe(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): MASK if names_a_secret(str(key)) else _safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(inner) for inner in value]
    text = masked(value if isinstance(value, str) else str(value))
    return text if len(text) <= MAX_LOGGED_CHARACTERS else text[:MAX_LOGGED_CHARACTERS] + "…"


def _render_json(_logger: object, _method: str, event: Event) -> str:
    # ASCII only, so that no control character, line separator or terminal sequence of an input reaches the stream;
    # DEL is the one control character that JSON lets through.
    return json.dumps(event, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")

"""Tracing as the settings say it, for each kind of process. Loads no driver: the worker's parent must stay small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from app.config import Settings
from app.infrastructure.tracing import Tracing, open_tracing


def connect_tracing(settings: Settings, role: str) -> Tracing | None:
    """Where these settings send spans of a process that does `role`; None where they name no collector."""
    return open_tracing(settings.traces_url, version("encore-recs"), role, settings.traces_share)


@contextmanager
def traced_process(settings: Settings, role: str) -> Iterator[None]:
    """Make spans within the body, and export all of them before it ends."""
    tracing = connect_tracing(settings, role)
    try:
        yield
    finally:
        if tracing is not None:
            tracing.shut_down()

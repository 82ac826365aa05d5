"""Settings of lists, as plain values (see app/config.py)."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.domain.signals import SignalPolicy


@dataclass(frozen=True, slots=True)
class ListPolicy:
    """`size` items are ranked and kept per list; `history_limit` newest pair states are ranked from.

    A list older than `ttl_seconds` is renewed; for `stale_seconds` more it is shown meanwhile.
    Lists with filters are rarely asked for again: `filtered_ttl_seconds` keeps them from filling the cache.
    `memory_*` bound the copies in this process; `threads` compute at once, `max_waiting` lists in all.
    """

    size: int = 100
    history_limit: int = 200
    ttl_seconds: float = 3_600.0
    stale_seconds: float = 0.0
    filtered_ttl_seconds: float = 300.0
    memory_ttl_seconds: float = 30.0
    memory_bytes: int = 33_554_432
    threads: int = 2
    max_waiting: int = 256
    signals: SignalPolicy = field(default_factory=SignalPolicy)

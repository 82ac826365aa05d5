"""How a consumer behaves in its group: plain values, so that the driver is loaded only where it is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How this member behaves in its group.

    `instance` is the static name of this replica (KIP-345): one that comes back within the session takes its partitions
    up again without a rebalance.
    """

    group: str = "encore"
    instance: str | None = None
    session_seconds: float = 30.0
    heartbeat_seconds: float = 3.0

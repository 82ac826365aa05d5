"""What a mutant is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace `old`, which must occur exactly once, by `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to be wrong, the promise it breaks, and the test that must notice."""

    name: str
    promise: str
    test: str
    patches: Sequence[Patch]

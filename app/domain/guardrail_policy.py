"""The guardrail of a served model: from what its lists have done, is it worse than it may be? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z = 3.0
"""Standard deviations: one false alarm in about 700 checks of a rate that lies exactly on its bound."""


@dataclass(frozen=True, slots=True)
class ListCounts:
    """What the lists of one model have done: made without filters, of them empty, failed; and how people took them.

    `answered`: lists whose person did something afterwards; `hits`: of them those that had the item among their first.
    """

    lists: int = 0
    empty: int = 0
    errors: int = 0
    answered: int = 0
    hits: int = 0

    def plus(self, other: ListCounts) -> ListCounts:
        """Both together."""
        return ListCounts(
            self.lists + other.lists,
            self.empty + other.empty,
            self.errors + other.errors,
            self.answered + other.answered,
            self.hits + other.hits,
        )


@dataclass(frozen=True, slots=True)
class GuardrailPolicy:
    """Bounds. Nothing is said before `min_lists` lists; hits are compared with the model before, as many of its own."""

    window_seconds: float = 900.0
    min_lists: int = 200
    max_empty: float = 0.05
    max_errors: float = 0.05
    max_hit_drop: float = 0.5


def breach(now: ListCounts, before: ListCounts | None, policy: GuardrailPolicy) -> str | None:
    """Why this model must not go on serving, in words; None if there is no reason to say so.

    A share that the model before had too says something about the data or the catalog, not about this model.
    """
    for name, mine, theirs, most in (
        ("failed", (now.errors, now.lists + now.errors), before and (before.errors, before.lists), policy.max_errors),
        ("empty", (now.empty, now.lists), before and (before.empty, before.lists), policy.max_empty),
    ):
        part, whole = mine
        usual = theirs[0] / theirs[1] if theirs and theirs[1] else 0.0
        bound = max(most, 2.0 * usual)
        if whole >= policy.min_lists and wilson_low(part, whole) > bound:
            return f"{part / whole:.1%} of {whole} lists {name}; at most {bound:.1%} may"
    return _fewer_hits(now, before, policy)


def _fewer_hits(now: ListCounts, before: ListCounts | None, policy: GuardrailPolicy) -> str | None:
    if before is None or min(now.answered, before.answered) < policy.min_lists:
        return None
    rate, usual = now.hits / now.answered, before.hits / before.answered
    # The bound of the other model, as favourable to this one as chance may have made it.
    bound = (1.0 - policy.max_hit_drop) * wilson_low(before.hits, before.answered)
    if wilson_high(now.hits, now.answered) >= bound:
        return None
    return f"{rate:.2%} of {now.answered} lists were taken up; the model before had {usual:.2%} of {before.answered}"


def wilson_low(part: int, whole: int) -> float:
    """Lower end of the Wilson interval (1927, https://doi.org/10.1080/01621459.1927.10502953) at Z deviations."""
    return _wilson(part, whole, -Z)


def wilson_high(part: int, whole: int) -> float:
    """Upper end of the same."""
    return _wilson(part, whole, Z)


def _wilson(part: int, whole: int, z: float) -> float:
    if not whole:
        return 0.0 if z < 0 else 1.0
    rate, square = part / whole, z * z
    middle = rate + square / (2 * whole)
    spread = z * sqrt(rate * (1 - rate) / whole + square / (4 * whole * whole))
    return (middle + spread) / (1 + square / whole)

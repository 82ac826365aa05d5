"""The guardrail of a served model, canary or champion: are its lists worse than they may be? Pure.

This is what a replica sees of its own lists, failures too, within seconds. What the request log says of a canary over
hours is judged in `canary`; both look at always-valid bounds, as both look again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.experiment_statistics import always_valid_rate

ALPHA = 0.0027
"""The chance that a rate which lies exactly on its bound ever breaks it, over one sequence of lists."""


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
        if whole >= policy.min_lists and _bounds(part, whole, policy)[0] > bound:
            return f"{part / whole:.1%} of {whole} lists {name}; at most {bound:.1%} may"
    return _fewer_hits(now, before, policy)


def _fewer_hits(now: ListCounts, before: ListCounts | None, policy: GuardrailPolicy) -> str | None:
    if before is None or min(now.answered, before.answered) < policy.min_lists:
        return None
    rate, usual = now.hits / now.answered, before.hits / before.answered
    # The bound of the other model, as favourable to this one as chance may have made it.
    bound = (1.0 - policy.max_hit_drop) * _bounds(before.hits, before.answered, policy)[0]
    if _bounds(now.hits, now.answered, policy)[1] >= bound:
        return None
    return f"{rate:.2%} of {now.answered} lists were taken up; the model before had {usual:.2%} of {before.answered}"


def _bounds(part: int, whole: int, policy: GuardrailPolicy) -> tuple[float, float]:
    return always_valid_rate(part, whole, alpha=ALPHA, planned=policy.min_lists)

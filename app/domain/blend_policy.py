"""Weights of a blend that people set: all of them, or the least that some members have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from app.domain.exceptions import InputError
from app.domain.recommender import MEMBER_OF_TYPE

NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BlendPolicy:
    """`fixed`: member → its share of the score, and no other members; `floors`: member → its least share.

    Shares are of what the members say on scales on which each spreads alike (app/domain/scaling.py). Without either,
    selection chooses the weights.
    """

    fixed: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    floors: Mapping[str, float] = field(default_factory=lambda: NOTHING)

    @classmethod
    def of(cls, fixed: Mapping[str, float], floors: Mapping[str, float]) -> BlendPolicy:
        """From names of recommenders or of list types. Raises InputError for what cannot be meant."""
        if fixed and floors:
            raise InputError("weights are fixed, or have floors: not both", "floors")
        if fixed and not any(fixed.values()):
            raise InputError("every member weighs nothing", "weights")
        if sum(floors.values()) >= 1.0:
            raise InputError("floors are shares: together less than 1", "floors")
        total = sum(fixed.values())
        return cls(
            {name: weight / total for name, weight in _members(fixed, "weights").items()}, _members(floors, "floors")
        )

    @property
    def members(self) -> frozenset[str]:
        """Members that the blend must have."""
        return frozenset(self.fixed) | frozenset(self.floors)


def _members(given: Mapping[str, float], field_name: str) -> dict[str, float]:
    named = {MEMBER_OF_TYPE.get(name, name): weight for name, weight in given.items() if weight}
    if len(named) < sum(map(bool, given.values())):
        raise InputError("one member by two names", field_name)
    return named


def with_floors(weights: Mapping[str, float], floors: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """(weights that sum to 1 and are at least the floors, the factor of those that are above theirs).

    What is below its floor is raised to it; what is left is shared by the others as before. Weights below 0 stay what
    they are beside the others, and are no part of the sum.
    """
    raised: set[str] = set()
    factor = 1.0
    for _ in range(len(floors) + 1):
        left = 1.0 - sum(floors[name] for name in raised)
        others = sum(max(weight, 0.0) for name, weight in weights.items() if name not in raised)
        factor = left / others if others > 0 else 0.0
        below = {name for name, least in floors.items() if weights.get(name, 0.0) * factor < least} - raised
        if not below:
            break
        raised |= below
    return {name: floors[name] if name in raised else weight * factor for name, weight in weights.items()}, factor


def raised(weights: Mapping[str, Sequence[float]], floors: Mapping[str, float]) -> tuple[dict[str, list[float]], float]:
    """(member → weights at each knot with these floors, the factor at the last knot). Every floor is a member."""
    n_knots = len(next(iter(weights.values())))
    columns = [with_floors({name: row[knot] for name, row in weights.items()}, floors) for knot in range(n_knots)]
    found = {name: [round(column[name], 5) for column, _ in columns] for name in weights}
    return found, columns[-1][1]

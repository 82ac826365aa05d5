"""Business rules of lists: pin, boost, block, quota, window. Read and checked here; put to work in `shaping`.

`ENCORE_RULES` names a file (or holds JSON) with a list of such rules; a service may send some with a request:

    [{"kind": "pin", "name": "premiere", "select": {"items": ["v7"]}, "position": 1, "until": "2026-12-01T00:00:00Z"},
     {"kind": "boost", "name": "house titles", "select": {"attributes": {"studio": ["encore"]}}, "by": 0.5},
     {"kind": "block", "name": "recalled", "select": {"items": ["v9"]}},
     {"kind": "quota", "name": "not only drama", "select": {"genres": ["drama"]}, "at_most": 3, "within": 10},
     {"kind": "window", "name": "festival", "select": {"tags": ["festival"]}, "since": "2026-12-01T00:00:00Z"}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from app.domain.exceptions import InputError

MAX_RULES = 200
MAX_PINS = 20
"""A list that is all pins is no recommendation."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Texts = Annotated[frozenset[Text], msgspec.Meta(max_length=10_000)]
NO_TEXTS: frozenset[str] = frozenset()


class ItemSelector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which items a rule is about: those for which every condition given holds; values of one are alternatives.

    Genres, tags and attribute values are compared without regard to case.
    """

    items: Texts = NO_TEXTS
    genres: Texts = NO_TEXTS
    tags: Texts = NO_TEXTS
    attributes: Annotated[dict[Text, Texts], msgspec.Meta(max_length=10)] = {}
    year_min: int | None = None
    year_max: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == ItemSelector()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What all rules have. A rule counts from `since` until just before `until`; without them, always."""

    name: Text
    select: ItemSelector
    since: datetime | None = None
    until: datetime | None = None

    @property
    def begins(self) -> float:
        """Unix seconds."""
        return float("-inf") if self.since is None else self.since.timestamp()

    @property
    def ends(self) -> float:
        """Unix seconds."""
        return float("inf") if self.until is None else self.until.timestamp()

    def counts_at(self, at: float) -> bool:
        """Whether it is in force at this Unix time."""
        return self.begins <= at < self.ends


class Pin(Rule, frozen=True, tag="pin", kw_only=True):
    """These items stand at `position` (1 is the first) and after, if they may be shown at all."""

    position: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class Boost(Rule, frozen=True, tag="boost", kw_only=True):
    """These items are ordered as if they scored `by` standard deviations of the scores higher (lower, if negative)."""

    by: Annotated[float, msgspec.Meta(ge=-10, le=10)]


class Block(Rule, frozen=True, tag="block", kw_only=True):
    """These items are shown nowhere."""


class AvailabilityWindow(Rule, frozen=True, tag="window", kw_only=True):
    """These items are shown nowhere outside of the time of the rule."""


class Quota(Rule, frozen=True, tag="quota", kw_only=True):
    """Of the first `within` items, at most or at least so many are of these.

    It yields where nothing else is left to show: a quota never makes a list shorter.
    """

    within: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    at_most: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    at_least: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None


AnyRule = Pin | Boost | Block | AvailabilityWindow | Quota
Rules = tuple[AnyRule, ...]


class RerankOptions(msgspec.Struct, frozen=True):
    """What one request wants of its list beyond filters. `diversity` None: what the settings say."""

    diversity: float | None = None
    rules: Rules = ()


DEFAULT_RERANK = RerankOptions()


def read_rules(written: object) -> Rules:
    """Rules from what JSON or YAML gives. Raises InputError that names the rule which is unknown or impossible."""
    if not isinstance(written, Sequence) or isinstance(written, (str, bytes)):
        raise InputError("must be a list of rules", "rules")
    if len(written) > MAX_RULES:
        raise InputError(f"there are more than {MAX_RULES} rules", "rules")
    rules = tuple(_read(one, number) for number, one in enumerate(written, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two rules have the name {name!r}", "rules")
    if sum(len(rule.select.items) for rule in rules if isinstance(rule, Pin)) > MAX_PINS:
        raise InputError(f"more than {MAX_PINS} items are pinned", "rules")
    return rules


def _read(written: object, number: int) -> AnyRule:
    name = written.get("name") if isinstance(written, Mapping) else None
    called = f"rule {name!r}" if isinstance(name, str) else f"rule {number}"
    try:
        rule: AnyRule = msgspec.convert(written, AnyRule)
    except msgspec.ValidationError as error:
        raise InputError(f"{called}: {error}", "rules") from None
    problem = _impossible(rule)
    if problem:
        raise InputError(f"{called}: {problem}", "rules")
    return rule


def _impossible(rule: AnyRule) -> str | None:
    select = rule.select
    if select.is_empty:
        return "selects nothing: give items, genres, tags, attributes or years"
    if select.year_min is not None and select.year_max is not None and select.year_min > select.year_max:
        return "year_min is after year_max"
    if any(moment is not None and moment.tzinfo is None for moment in (rule.since, rule.until)):
        return "times need an offset from UTC"
    if rule.begins >= rule.ends:
        return "ends before it begins"
    if isinstance(rule, Pin) and select != ItemSelector(items=select.items):
        return "a pin selects items by their ids"
    if isinstance(rule, AvailabilityWindow) and rule.since is None and rule.until is None:
        return "a window needs since or until"
    return _impossible_quota(rule) if isinstance(rule, Quota) else None


def _impossible_quota(quota: Quota) -> str | None:
    if quota.at_most is None and quota.at_least is None:
        return "a quota needs at_most or at_least"
    if (quota.at_least or 0) > quota.within:
        return "at_least is more than within"
    if quota.at_most is not None and (quota.at_least or 0) > quota.at_most:
        return "at_least is more than at_most"
    return None

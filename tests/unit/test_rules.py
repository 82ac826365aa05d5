"""Rules as they are written: what is unknown or impossible is refused, and the rule is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load_settings
from app.config_rules import rules_of
from app.domain.exceptions import ConfigurationError, InputError
from app.domain.rules import Boost, Pin, read_rules

ITEMS = {"items": ["v1"]}


def rule(kind: str = "block", **fields: object) -> dict[str, object]:
    return {"kind": kind, "name": "mine", "select": ITEMS, **fields}


def test_every_kind_is_read() -> None:
    rules = read_rules(
        [
            rule("pin", name="a", position=2, until="2026-12-01T00:00:00Z"),
            rule("boost", name="b", by=0.5, select={"attributes": {"studio": ["encore"]}, "genres": ["drama"]}),
            rule("block", name="c"),
            rule("quota", name="d", at_most=3),
            rule("window", name="e", since="2026-12-01T00:00:00+01:00"),
        ]
    )

    assert [rule.name for rule in rules] == ["a", "b", "c", "d", "e"]
    assert isinstance(rules[0], Pin)
    assert (rules[0].position, rules[0].ends) == (2, 1_796_083_200.0)
    assert isinstance(rules[1], Boost)
    assert rules[1].by == 0.5
    assert rules[4].begins == 1_796_079_600.0


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "hide"}, "hide"),
        ({"colour": 1}, "colour"),
        ({"select": {}}, "selects nothing"),
        ({"select": {"years": 1}}, "years"),
        ({"select": {"year_min": 2000, "year_max": 1990}}, "year_min is after year_max"),
        ({"since": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"}, "ends before"),
        ({"since": "2026-12-02T00:00:00"}, "offset"),
        ({"kind": "boost"}, "by"),
        ({"kind": "boost", "by": 11}, "10"),
        ({"kind": "pin", "select": {"genres": ["drama"]}}, "by their ids"),
        ({"kind": "pin", "position": 0}, "position"),
        ({"kind": "quota"}, "at_most or at_least"),
        ({"kind": "quota", "at_least": 3, "within": 2}, "more than within"),
        ({"kind": "quota", "at_least": 3, "at_most": 2}, "more than at_most"),
        ({"kind": "window"}, "since or until"),
    ],
)
def test_an_impossible_rule_is_refused_by_its_name(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError) as refused:
        read_rules([rule(name="fine"), {**rule(), **fields}])

    assert "rule 'mine'" in str(refused.value)
    assert problem in str(refused.value)


def test_rules_that_cannot_stand_together_are_refused() -> None:
    with pytest.raises(InputError, match="two rules have the name 'mine'"):
        read_rules([rule(), rule()])
    with pytest.raises(InputError, match="more than 20 items are pinned"):
        read_rules([rule("pin", select={"items": [f"v{number}" for number in range(21)]})])
    with pytest.raises(InputError, match="more than 200 rules"):
        read_rules([rule(name=str(number)) for number in range(201)])
    for written in ("block", {"kind": "block"}, None, 3):
        with pytest.raises(InputError, match="list of rules"):
            read_rules(written)
    with pytest.raises(InputError, match="rule 1"):
        read_rules([7])


def test_rules_are_read_at_the_start_and_a_wrong_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = "[{kind: block, name: fine, select: {items: [v1]}}]"
    (tmp_path / "rules.yaml").write_text(fine, encoding="utf-8")
    monkeypatch.setenv("ENCORE_RULES", str(tmp_path / "rules.yaml"))
    assert rules_of(load_settings(environment="test").rules) == rules_of(fine)
    for written, problem in (
        (fine.replace("block", "hide"), "rule 'fine'"),
        ("[", "not valid JSON or YAML"),
        (str(tmp_path / "none.yaml"), "cannot be read"),
    ):
        monkeypatch.setenv("ENCORE_RULES", written)
        with pytest.raises(ConfigurationError, match=f"ENCORE_RULES.*{problem}"):
            load_settings(environment="test")

"""Weights of a blend that people set: fixed ones are the recipe's, floors hold at every history length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.application.evaluation.selection import Recipe, select
from app.config import load_settings
from app.domain.blend_policy import BlendPolicy, with_floors
from app.domain.exceptions import ConfigurationError, NotEnoughDataError
from app.models import RECOMMENDERS
from app.policies import training_policy
from tests.unit.models.data import checkerboard, silent

CONFIG = Path(__file__).parents[2] / "config"


def chosen(blend: BlendPolicy, *, features: bool = True) -> Recipe:
    data = checkerboard() if features else replace(checkerboard(), item_features=None)
    return select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=2, progress=silent, blend=blend)


def test_floors_take_from_the_others_in_proportion() -> None:
    weights, factor = with_floors({"a": 1.0, "b": 0.5, "c": 0.0}, {"c": 0.25})
    assert weights == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})
    assert factor == pytest.approx(0.5)
    # what was above its floor before others were raised may be below it then
    weights, _ = with_floors({"a": 0.75, "b": 0.25, "c": 0.0}, {"c": 0.4, "b": 0.2})
    assert weights == pytest.approx({"a": 0.4, "b": 0.2, "c": 0.4})
    assert with_floors({"a": 3.0, "b": 1.0}, {"b": 0.1})[0] == pytest.approx({"a": 0.75, "b": 0.25})


def test_fixed_weights_are_the_whole_blend() -> None:
    recipe = chosen(BlendPolicy.of({"content": 0.3, "collaborative": 0.5, "popular": 0.2}, {}))
    weights = recipe.parameters["weights"]
    assert recipe.parameters["knots"] == [0]
    assert weights == {"content": [0.3], "ials": [0.5], "popularity": [0.2]}
    assert set(recipe.parameters["members"]) == {"content", "ials", "popularity"}  # type: ignore[call-overload] # a mapping
    assert recipe.table[-1]["history"] == "set by hand"
    assert {row["recommender"] for row in recipe.table} == {"content", "ials", "popularity", "blend"}


def test_floors_hold_at_every_length() -> None:
    recipe = chosen(BlendPolicy.of({}, {"content": 0.2, "popular": 0.1}))
    weights = recipe.parameters["weights"]
    assert isinstance(weights, dict)
    for knot in range(len(recipe.parameters["knots"])):  # type: ignore[arg-type] # a list
        total = sum(max(row[knot], 0.0) for row in weights.values())
        assert weights["content"][knot] >= 0.2 * total - 1e-4
        assert weights["popularity"][knot] >= 0.1 * total - 1e-4


def test_what_cannot_be_learnt_is_named() -> None:
    with pytest.raises(NotEnoughDataError, match="content"):
        chosen(BlendPolicy.of({"content": 0.5, "popular": 0.5}, {}), features=False)


def test_the_settings_reach_the_training_and_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_TRAIN_BLEND_WEIGHTS", '{"content": 0.3, "collaborative": 0.5, "popular": 0.2}')
    policy = training_policy(load_settings()).blend
    assert policy.fixed == pytest.approx({"content": 0.3, "ials": 0.5, "popularity": 0.2})
    for name, value in (
        ("WEIGHTS", '{"contents": 1}'),
        ("WEIGHTS", '{"content": -1}'),
        ("WEIGHTS", '{"content": 0}'),
        ("WEIGHTS", '{"popular": 0.5, "popularity": 0.5}'),
        ("FLOORS", '{"content": 0.2}'),  # beside fixed weights
    ):
        with monkeypatch.context() as one:
            one.setenv(f"ENCORE_TRAIN_BLEND_{name}", value)
            with pytest.raises(ConfigurationError) as refused:
                load_settings()
            assert refused.value.setting == f"ENCORE_TRAIN_BLEND_{name}"


@pytest.mark.parametrize("name", ["posts", "movies", "books", "development", "production"])
def test_each_settings_file_is_one_that_a_process_starts_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_CONFIG_FILE", str(CONFIG / f"{name}.yaml"))
    settings = load_settings()
    training_policy(settings)
    assert settings.compat == (name if name in {"posts", "movies", "books"} else "")
    if name == "posts":
        assert (settings.train_schedule, settings.train_blend_floors) == ("*/5 * * * *", {"content": 0.05})
    monkeypatch.setenv("ENCORE_LIST_TTL_SECONDS", "77")
    assert load_settings().list_ttl_seconds == 77  # the environment wins


def test_an_unknown_key_of_a_settings_file_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "posts.yaml"
    file.write_text((CONFIG / "posts.yaml").read_text() + "\nlist_tll_seconds: 5\n")
    monkeypatch.setenv("ENCORE_CONFIG_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"list_tll_seconds.*list_ttl_seconds"):
        load_settings()

"""The transformer: its forward pass worked out by hand, and, where torch is installed, what it learns."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.selection import select
from app.domain.dataset import Dataset
from app.domain.exceptions import InputError, TrainingError
from app.models import RECOMMENDERS, RecommenderTable, transformer
from app.models.sequence_moments import Steps
from app.models.transformer import TransformerParameters, TransformerRecommender
from app.models.transformer_forward import Weights, read
from tests.unit.models.data import dataset, drawn_transformer, history, needs_torch, silent, without

SMALL = {"factors": 2, "hidden": 1, "layers": 1, "heads": 1, "length": 3}
RIGHT, LEFT, UP = (1.0, -1.0), (-1.0, 1.0), (0.5, 0.5)
"""Item vectors of two numbers: the norm makes (1, -1) of the first, (-1, 1) of the second."""


def by_hand(previous: float) -> TransformerRecommender:
    """Items 0 right, 1 left, 2 up. To the last event comes `previous` times the one before it, and nothing else."""
    weights = Weights.drawn(3, 2, 1, 1, 1, 3, seed=0)
    values = np.zeros((1, 2, 6), dtype=np.float32)
    values[0, :, 4:] = np.eye(2)
    made = replace(
        weights,
        vectors=np.array([RIGHT, LEFT, UP], dtype=np.float32),
        inward=values,
        outward=previous * np.eye(2, dtype=np.float32)[None],
        # As good as all attention for distance 1; e^-50 of it is nothing in single precision.
        distances=np.array([[[-50.0, 0.0, -50.0]]], dtype=np.float32),
        narrow=np.zeros((1, 1, 2), dtype=np.float32),
    )
    recommender = TransformerRecommender("transformer", TransformerParameters(**SMALL))  # type: ignore[arg-type] # ints
    recommender.adopt(made, np.array([3, 2, 1]))
    return recommender


def test_without_attention_the_newest_event_alone_decides() -> None:
    # norm((√2, -√2)) = (1, -1): its products with right, left and up are 2, -2 and 0.
    np.testing.assert_allclose(by_hand(0.0).score(history([0, 1, 1]))[0], [2.0, -2.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(by_hand(0.0).score(history([1, 0, 0]))[0], [-2.0, 2.0, 0.0], atol=1e-4)


def test_attention_reaches_the_event_before_by_its_distance() -> None:
    # √2 · right + 10 · norm(left): left wins. Without an event at distance 1 the last looks at itself.
    np.testing.assert_allclose(by_hand(10.0).score(history([0, 1, 0]))[0], [-2.0, 2.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(by_hand(10.0).score(history([0, 0, 1]))[0], [2.0, -2.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(by_hand(10.0).score(history([0]))[0], [2.0, -2.0, 0.0], atol=1e-4)


def test_without_a_history_nothing_is_said() -> None:
    np.testing.assert_array_equal(by_hand(1.0).score(history([])), np.zeros((1, 3)))


def test_only_the_newest_events_are_read_and_in_their_order() -> None:
    model = drawn_transformer(20, length=3)
    whole = model.score(history([4, 9, 2, 7]))
    np.testing.assert_allclose(whole, model.score(history([4, 9, 2, 11, 5])), rtol=1e-6)
    assert np.abs(whole - model.score(history([2, 9, 4]))).max() > 0.1


def test_dislikes_and_what_nobody_liked_in_training_are_passed_over() -> None:
    model = drawn_transformer(20, unliked=[13])
    alone = model.score(history([4, 9]))
    np.testing.assert_array_equal(model.score(history([3, 4, 13, 9], [-1.0, 1.0, 1.0, 1.0])), alone)


def test_an_item_nobody_liked_is_placed_like_the_rarest() -> None:
    model = drawn_transformer(20, unliked=[13])
    vectors = model.item_vectors
    np.testing.assert_array_equal(vectors[13], vectors[0])  # a tenth of 19 is one: item 0 has the fewest likes
    wider = model.extended(sp.csr_matrix((2, 2), dtype=np.float32))
    np.testing.assert_array_equal(wider.item_vectors[20:], vectors[[0, 0]])


def test_an_entry_that_is_taken_away_lets_an_older_one_in() -> None:
    model = drawn_transformer(20, length=3)
    entries, items = history([4, 9, 2, 7, 11]), np.arange(20, dtype=np.int32)
    parts, whole = model.contributions(entries, items), model.score(entries)[0]
    for entry in range(5):
        less = model.score(without(entries, entry))[0]
        np.testing.assert_allclose(parts[entry], whole - less, atol=1e-5)
    assert np.abs(parts[:3]).max() > 0.01
    np.testing.assert_array_equal(parts[3:5], np.zeros((2, 20)))


def test_batches_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn_transformer(20, length=5)
    rng = np.random.default_rng(5)
    rows = [[(int(item), 1.0) for item in rng.permutation(20)[: rng.integers(0, 9)]] for _ in range(40)]
    histories = dataset(rows, 20).histories
    at_once = model.fold_in(histories)
    monkeypatch.setattr("app.models.transformer_forward._BATCH_CELLS", 1)
    np.testing.assert_allclose(model.fold_in(histories), at_once, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [{"factors": 9, "heads": 2}, {"layers": 0}, {"dropout": 1.0}, {"device": "tpu"}, {"negatives": -1}, {"epochs": 0}],
)
def test_impossible_parameters_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(InputError):
        RECOMMENDERS.build("transformer", given)


def test_windows_ask_for_every_step_but_the_first_once() -> None:
    starts = np.array([0, 7, 8, 8, 20, 22])
    steps = Steps(np.repeat(np.arange(5), np.diff(starts)), np.arange(22), starts, np.arange(22.0))
    for seed in range(20):
        first, sizes = steps.windows(5, np.random.default_rng(seed))
        asked = np.concatenate([start + 1 + np.arange(size) for start, size in zip(first, sizes, strict=True)])
        assert sorted(asked) == sorted(set(range(22)) - {0, 7, 8, 20})
        assert sizes.min() >= 1
        assert sizes.max() <= 5


@contextmanager
def torch_hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(transformer, "find_spec", lambda name: None)
        yield


def test_a_training_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    [wanted] = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["torch"]
    with torch_hidden(monkeypatch), pytest.raises(TrainingError, match=re.escape(f"uv pip install '{wanted}'")):
        RECOMMENDERS.build("transformer", {}).fit(cycles(), seed=0, progress=silent)


def test_it_is_tried_where_it_was_asked_for_and_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(RECOMMENDERS.optional()) == ()
    with torch_hidden(monkeypatch):
        assert tuple(RecommenderTable("always").optional()) == ()
    monkeypatch.setattr(transformer, "find_spec", lambda name: name)
    assert tuple(RecommenderTable("always").optional()) == ("transformer",)
    assert tuple(RecommenderTable("never").optional()) == ()


SERVES = """
import sys
import tomllib
from tests.unit.models.data import drawn_transformer, history
from app.models import RECOMMENDERS
saved = drawn_transformer(20)
RECOMMENDERS.restore("transformer", saved.parameters(), saved.arrays()).score(history([3, 4]))
print("torch" in sys.modules)
"""


def test_restoring_and_scoring_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SERVES], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "False", done.stderr[-1_000:]


def cycles(n_items: int = 12, n_users: int = 40) -> Dataset:
    """Everybody goes round the items in the same order, from a place of their own."""
    rng = np.random.default_rng(2)
    rows = []
    for _ in range(n_users):
        start, steps = rng.integers(n_items), rng.integers(4, 9)
        rows.append([(int((start - back) % n_items), 1.0) for back in range(steps)])
    return dataset(rows, n_items)


LEARNS = {"factors": 16, "hidden": 32, "length": 5, "epochs": 30, "batch": 8, "learning_rate": 0.01, "dropout": 0.1}


def next_best(recommender: TransformerRecommender) -> NDArray[np.int64]:
    scores = np.concatenate([recommender.score(history([last, (last - 1) % 12])) for last in range(12)])
    return np.asarray(np.argmax(scores, axis=1), dtype=np.int64)


def learnt(seed: int = 0, **more: object) -> TransformerRecommender:
    recommender = TransformerRecommender.build("transformer", {**LEARNS, "device": "cpu", **more})
    recommender.fit(cycles(), seed=seed, progress=silent)
    return recommender


@needs_torch
@pytest.mark.parametrize("negatives", [0, 5])
def test_it_learns_what_comes_next(negatives: int) -> None:
    np.testing.assert_array_equal(next_best(learnt(negatives=negatives)), (np.arange(12) + 1) % 12)


@needs_torch
def test_selection_tries_it_where_it_was_asked_for() -> None:
    def tried(recommenders: RecommenderTable) -> set[object]:
        recipe = select(cycles(), recommenders, "hybrid", seed=0, budget_seconds=60, progress=silent)
        return {row["recommender"] for row in recipe.table}

    assert "transformer" in tried(RecommenderTable("always"))
    assert "transformer" not in tried(RecommenderTable())


@needs_torch
def test_a_second_fit_equals_the_first_and_another_seed_does_not() -> None:
    first, second, other = (learnt(seed, negatives=5).arrays() for seed in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert np.abs(first["vectors"].astype(float) - other["vectors"].astype(float)).max() > 0.01


@needs_torch
def test_the_forward_pass_is_that_of_torch() -> None:
    import torch

    from app.models.transformer_training import forward

    model = drawn_transformer(20, length=7)
    weights = model.weights
    items = np.random.default_rng(1).integers(0, 20, (6, 7)).astype(np.int32)
    lengths = np.array([7, 1, 4, 0, 2, 7])
    tensors = {name: torch.from_numpy(array) for name, array in weights.arrays().items()}
    theirs = forward(tensors, torch.from_numpy(items.astype(np.int64))).numpy()
    ours = read(weights, items, lengths)
    for row, length in enumerate(lengths):
        expected = theirs[row, length - 1] if length else np.zeros(weights.vectors.shape[1])
        np.testing.assert_allclose(ours[row], expected, atol=1e-5)


@needs_torch
def test_training_leaves_torchs_threads_and_chance_as_they_were() -> None:
    import torch

    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    learnt(epochs=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@needs_torch
def test_a_gpu_that_is_not_there_is_said() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match="no GPU"):
        learnt(device="cuda")

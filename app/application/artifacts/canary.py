"""A canary for models: a few fixed histories whose scores must be sane, and the same again after restoring.

The scores are kept in the model's row, not in the artifact: their last bits differ from run to run, and the same
training must give the same artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import Histories
from app.domain.entities import ModelVersion
from app.domain.exceptions import ArtifactDamagedError
from app.domain.recommender import Recommender, Tower

_FIELD = "canary"
"""Where a model's lineage keeps it."""

_HISTORIES, _LENGTH, _ITEMS = 8, 5, 32
_NOW = 1_700_000_000.0
"""A fixed moment: ages matter to a score, the date does not."""

_TOLERANCE = 1e-3
"""Of the largest score: float32 sums differ by about 1e-6 between processors, a damaged model by far more."""


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores a model gave when it was written: histories (item positions, newest first) × items."""

    histories: tuple[tuple[int, ...], ...]
    items: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]


def make_canary(recommender: Recommender) -> Canary:
    """Score histories and items spread evenly over the catalog. Raises ArtifactDamagedError if they are not sane."""
    spread = np.linspace(0, recommender.n_items - 1, _HISTORIES * _LENGTH).astype(int).reshape(_LENGTH, _HISTORIES).T
    histories = tuple(tuple(dict.fromkeys(row.tolist())) for row in spread)
    items = tuple(np.unique(np.linspace(0, recommender.n_items - 1, _ITEMS).astype(int)).tolist())
    scores = _scores(recommender, histories, items)
    check_vectors(recommender)
    # Six digits are enough to compare by.
    return Canary(histories, items, tuple(tuple(float(f"{score:.6g}") for score in row) for row in scores))


def with_canary(model: ModelVersion, recommender: Recommender) -> ModelVersion:
    """The row of a model with its canary in it."""
    return replace(model, lineage={**model.lineage, _FIELD: msgspec.to_builtins(make_canary(recommender))})


def read_canary(model: ModelVersion) -> Canary | None:
    """The canary in the model's row; None if it has none. Raises ArtifactDamagedError if it is none."""
    written = model.lineage.get(_FIELD)
    if written is None:
        return None
    try:
        return msgspec.convert(written, Canary)
    except msgspec.ValidationError as error:
        raise ArtifactDamagedError("canary", "shape") from error


def check_canary(recommender: Recommender, canary: Canary) -> None:
    """Refuse a restored model that scores unlike the one that was written."""
    positions = [*canary.items, *(position for history in canary.histories for position in history)]
    if not positions or not all(0 <= position < recommender.n_items for position in positions):
        raise ArtifactDamagedError("canary", "positions")
    expected = np.asarray(canary.scores, dtype=np.float64)
    scores = _scores(recommender, canary.histories, canary.items)
    if scores.shape != expected.shape or not np.allclose(
        scores, expected, rtol=0.0, atol=_TOLERANCE * float(np.abs(expected).max(initial=0.0))
    ):
        raise ArtifactDamagedError("canary", "scores")
    check_vectors(recommender)


def check_vectors(recommender: Recommender) -> None:
    """Refuse item vectors that are not finite, all zero, or all the same; for a blend, of each of its members."""
    for tower in _towers(recommender):
        vectors = tower.item_vectors
        if not np.isfinite(vectors).all():
            raise ArtifactDamagedError("canary", "vectors are not finite")
        if not vectors.any():
            raise ArtifactDamagedError("canary", "vectors are zero")
        if len(vectors) > 1 and (vectors == vectors[0]).all():
            raise ArtifactDamagedError("canary", "vectors are all the same")


def _towers(recommender: Recommender) -> Iterator[Tower]:
    members: Mapping[str, Recommender] = getattr(recommender, "members", {})
    for member in (recommender, *members.values()):
        if isinstance(member, Tower):
            yield member


def _scores(recommender: Recommender, rows: Sequence[Sequence[int]], items: Sequence[int]) -> NDArray[np.float64]:
    """(len(rows), len(items)) scores; refused unless they are finite and tell at least some items apart."""
    histories = _histories(rows)
    scores = recommender.score(histories, np.asarray(items, dtype=np.int32)).astype(np.float64)
    if not np.isfinite(scores).all():
        raise ArtifactDamagedError("canary", "scores are not finite")
    if len(items) > 1 and not np.ptp(scores, axis=1).any():
        raise ArtifactDamagedError("canary", "scores are all the same")
    return scores


def _histories(rows: Sequence[Sequence[int]]) -> Histories:
    """Histories with one entry a day and weight 1."""
    lengths = [len(row) for row in rows]
    days = np.concatenate([np.arange(length) for length in lengths]) if lengths else np.empty(0)
    return Histories(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.asarray([position for row in rows for position in row], dtype=np.int32),
        np.ones(len(days), dtype=np.float32),
        _NOW - 86_400.0 * days,
        _NOW,
    )

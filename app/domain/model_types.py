"""The types of models that somebody can ask for: what `ENCORE_TRAIN_MODEL_TYPE` and `encore train --type` take.

Kept apart from the recommenders themselves (`app.models`), which take seconds to import; a test holds both together.
"""

from __future__ import annotations

RECOMMENDER_NAMES = (
    "popularity",
    "trending",
    "profile",
    "ials",
    "als",
    "bpr",
    "lightfm",
    "content",
    "rp3",
    "item-item",
    "transitions",
    "graph",
    "ease",
    "sequence",
    "transitions",
    "transformer",
    "hybrid",
)
LIST_TYPES = ("collaborative", "sequential", "popular")
"""What lists call the recommenders that answer them, where that is another word."""

MODEL_TYPES = frozenset(RECOMMENDER_NAMES + LIST_TYPES)

"""Settings as the plain values that use cases take."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from app.application.ingestion.dead_letter_retention import LetterBounds
from app.application.ranking.candidate_generation import OpenIndex
from app.application.training.comparison import TrainingPolicy
from app.config import Settings
from app.config_rules import rules_of
from app.domain.blend_policy import BlendPolicy
from app.domain.entities import Kind
from app.domain.exploration import Exploration
from app.domain.gate import GatePolicy
from app.domain.guardrail_policy import GuardrailPolicy
from app.domain.reranking import RankingPolicy
from app.domain.signals import SignalPolicy
from app.infrastructure.vector_store import IndexPolicy, open_good_index


def signal_policy(settings: Settings) -> SignalPolicy:
    """How much each kind of interaction counts, in training and in serving alike."""
    weights = {kind: getattr(settings, f"weight_{kind.value}") for kind in Kind}
    return SignalPolicy(weights=weights, half_life_days=settings.signal_half_life_days)


def guardrail_policy(settings: Settings) -> GuardrailPolicy:
    """The bounds of a served model."""
    return GuardrailPolicy(
        settings.guardrail_window_seconds,
        settings.guardrail_min_lists,
        settings.guardrail_max_empty,
        settings.guardrail_max_errors,
        settings.guardrail_max_hit_drop,
    )


def ranking_policy_of(settings: Settings) -> RankingPolicy:
    """What the settings say about the shape of all lists."""
    exploration = Exploration(settings.explore_share, settings.explore_position, settings.explore_pool)
    return RankingPolicy(rules_of(settings.rules), settings.list_diversity, exploration, settings.exclude_seen)


def index_opener(settings: Settings) -> OpenIndex:
    """What builds vector indexes, and refuses those that find too little."""
    return partial(
        open_good_index,
        IndexPolicy(settings.vector_index, settings.vector_index_approximate_above, settings.vector_index_min_recall),
    )


def training_policy(settings: Settings) -> TrainingPolicy:
    """What the settings say about training and judging."""
    return TrainingPolicy(
        signals=signal_policy(settings),
        gate=GatePolicy(margin=settings.train_gate_margin),
        blend=BlendPolicy.of(settings.train_blend_weights, settings.train_blend_floors),
        exclude_seen=settings.exclude_seen,
        test_fraction=settings.train_test_fraction,
        budget_seconds=settings.train_time_budget_seconds,
        keep_versions=settings.train_keep_versions,
        # Four chances to be heard before the lease ends; and often enough that a cancellation is not waited for.
        heartbeat_seconds=min(0.5, settings.train_lease_seconds / 4),
        threads=settings.train_threads,
        index_above=settings.vector_index_above,
    )


def letter_bounds(settings: Settings) -> LetterBounds:
    """How much is kept of what could not be taken in."""
    return LetterBounds(
        settings.dead_letter_max_rows, settings.dead_letter_max_bytes, timedelta(days=settings.dead_letter_max_days)
    )

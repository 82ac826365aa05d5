"""What reads the request log: results of experiments, and models judged by lists that were shown."""

from __future__ import annotations

from datetime import timedelta

from app.application.experimentation.experiment_results import ResultsReader
from app.application.reporting.replay_evaluation import ReplayEvaluator
from app.bootstrap import Container
from app.config import pseudonym_secret
from app.policies import signal_policy


def make_results_reader(container: Container) -> ResultsReader:
    """The analysis of experiments."""
    settings, database = container.settings, container.database
    return ResultsReader(
        database.request_log,
        database.interactions,
        pseudonym_secret(settings),
        container.clock,
        timedelta(hours=settings.attribution_hours),
    )


def make_replay_evaluator(container: Container) -> ReplayEvaluator:
    """What judges a model by the request log."""
    settings, database = container.settings, container.database
    attribution = timedelta(hours=settings.attribution_hours)
    secret, signals = pseudonym_secret(settings), signal_policy(settings)
    return ReplayEvaluator(database.request_log, database.interactions, secret, attribution, signals)

"""What a training decides, as computation: choose a recipe, fit it, judge it beside champion and popularity.

No I/O here: a snapshot in, a decision out. docs/adr/0002-judging-the-champion.md tells why the champion is judged the
way it is, and when its own recipe is refreshed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import numpy as np

from app.application.artifacts.model_artifacts import LoadedModel
from app.application.evaluation.aligned_model import AlignedModel
from app.application.evaluation.evaluation import Evaluation, evaluate
from app.application.evaluation.hold_out import HoldOut, hold_out
from app.application.evaluation.repeats import Repeats, repeats_of
from app.application.evaluation.selection import Recipe, select
from app.application.training.background_computation import ProgressTracker
from app.domain.blend_policy import BlendPolicy
from app.domain.dataset import Dataset
from app.domain.entities import EventColumns, Item, User
from app.domain.exceptions import NotEnoughDataError
from app.domain.gate import GatePolicy, Verdict, decide_promotion
from app.domain.list_query import SeenPolicy
from app.domain.recommender import ProgressCallback, Recommender, Recommenders
from app.domain.signals import SignalPolicy, dataset_from
from app.domain.splits import time_split


@dataclass(frozen=True, slots=True)
class TrainingPolicy:
    """What does not change from one training to the next. `threads` caps BLAS and OpenMP."""

    signals: SignalPolicy = field(default_factory=SignalPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    blend: BlendPolicy = field(default_factory=BlendPolicy)
    exclude_seen: SeenPolicy = "always"
    test_fraction: float = 0.1
    budget_seconds: float = 120.0
    keep_versions: int = 5
    heartbeat_seconds: float = 5.0
    threads: int = 1
    index_above: int = 100_000
    """Items beyond which a server builds vector indexes: a training tries them, its manifest says what they find."""
    refresh_margin: float = 0.01
    """How much worse than the champion its own recipe may be on newer data and still replace it."""
    max_quality_drop: float = 0.3
    """How far a new model may fall below what the champion scored when it was trained (F12 of the test plan)."""
    min_catalog_share: float = 0.5
    """The least share of the champion's items that a new model must know (F11 of the test plan)."""

    def may_return(self, repeats: Repeats) -> bool:
        """Whether lists are judged as they will be shown: with what people have seen, or without."""
        return repeats.may_return if self.exclude_seen == "auto" else self.exclude_seen == "never"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data of one training, read once."""

    columns: EventColumns
    items: Sequence[Item]
    users: Sequence[User]

    @property
    def n_users(self) -> int:
        """Users with events."""
        return len(np.unique(self.columns.user))

    @property
    def n_items(self) -> int:
        """Items with events or in the catalog."""
        with_events = (self.columns.item_ids[position] for position in np.unique(self.columns.item).tolist())
        return len({item.item_id for item in self.items}.union(with_events))


@dataclass(frozen=True, slots=True)
class ChampionSnapshot:
    """What is known of the champion: its recipe, the data it was fitted to, what it scored then.

    `served` is the restored model, given only where it has not seen the hold-out.
    """

    recipe: Recipe
    last_event: float
    interactions: int
    items: int
    score: float
    served: LoadedModel | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against incumbent: the data, and what has been judged so far."""

    incumbent: ChampionSnapshot
    train: Dataset
    held: HoldOut
    recipe: Recipe
    candidate: Evaluation
    popularity: Evaluation
    repeats: Repeats


@dataclass(frozen=True, slots=True)
class Decision:
    """What the training has come to. `recipe` and `evaluation` are those of the model to be fitted to all data."""

    verdict: Verdict
    recipe: Recipe
    evaluation: Evaluation
    candidate: Evaluation
    champion: Evaluation | None
    popularity: Evaluation
    champion_as: str | None
    is_refresh: bool
    selection: Sequence[Mapping[str, object]]
    repeats: Repeats


def end_of(columns: EventColumns) -> float:
    """The Unix time of the newest event: the `now` of a model fitted to these events.

    Not the clock's: the same data must give the same model, whenever it is trained.
    """
    if not len(columns.occurred_at):
        raise NotEnoughDataError("there are no interactions in the window")
    return float(columns.occurred_at.max())


def dataset_of(columns: EventColumns, snapshot: Snapshot, policy: TrainingPolicy) -> Dataset:
    """The training set of these events of a snapshot."""
    now = datetime.fromtimestamp(end_of(columns), UTC)
    return dataset_from(columns, policy.signals, now, snapshot.items, snapshot.users)


def fit(
    recipe: Recipe, dataset: Dataset, recommenders: Recommenders, seed: int, progress: ProgressCallback
) -> Recommender:
    """A recommender made by a recipe."""
    recommender = recommenders.build(recipe.name, recipe.parameters)
    recommender.fit(dataset, seed=seed, progress=progress)
    return recommender


def hold_out_start(columns: EventColumns, policy: TrainingPolicy) -> float:
    """The Unix time at which the hold-out of these events begins."""
    end_of(columns)
    _, test = time_split(columns, policy.test_fraction)
    return float(test.occurred_at.min())


class ModelComparison:
    """One comparison on one hold-out."""

    def __init__(
        self,
        snapshot: Snapshot,
        recommenders: Recommenders,
        policy: TrainingPolicy,
        seed: int,
        tracker: ProgressTracker,
    ) -> None:
        self._snapshot = snapshot
        self._recommenders = recommenders
        self._policy = policy
        self._seed = seed
        self._tracker = tracker

    def decide(self, model_type: str, incumbent: ChampionSnapshot | None) -> Decision:
        """Choose a recipe on the training part, fit it there, judge it on the hold-out, and decide."""
        train, held, repeats = self._cut()
        recipe = select(
            train,
            self._recommenders,
            model_type,
            seed=self._seed,
            budget_seconds=self._policy.budget_seconds,
            progress=self._tracker.within("selecting", 0.05, 0.45),
            start=incumbent.recipe.parameters if incumbent and incumbent.recipe.name == model_type else None,
            blend=self._policy.blend,
        )
        candidate = self._judge_recipe(recipe, train, held, "candidate", 0.45, 0.58)
        popularity = self._judge_recipe(Recipe("popularity", {}), train, held, "popularity", 0.58, 0.6)
        if incumbent is None:
            verdict = decide_promotion(candidate, None, popularity, self._policy.gate)
            return Decision(verdict, recipe, candidate, candidate, None, popularity, None, False, recipe.table, repeats)
        return self._decide_against(Comparison(incumbent, train, held, recipe, candidate, popularity, repeats))

    def _cut(self) -> tuple[Dataset, HoldOut, Repeats]:
        columns = self._snapshot.columns
        end_of(columns)
        self._tracker.at("preparing", 0.03)
        train_columns, test_columns = time_split(columns, self._policy.test_fraction)
        train = dataset_of(train_columns, self._snapshot, self._policy)
        repeats = repeats_of(train_columns, self._policy.test_fraction)
        seen = "may-return" if self._policy.may_return(repeats) else "drop"
        return train, hold_out(train, test_columns, self._snapshot.users, seen=seen), repeats

    def _judge_recipe(
        self, recipe: Recipe, train: Dataset, held: HoldOut, name: str, low: float, high: float
    ) -> Evaluation:
        middle = (low + high) / 2
        progress = self._tracker.within(f"fitting {name}", low, middle)
        recommender = fit(recipe, train, self._recommenders, self._seed, progress)
        progress = self._tracker.within(f"judging {name}", middle, high)
        return evaluate(recommender, train, held, seed=self._seed, progress=progress)

    def _decide_against(self, contest: Comparison) -> Decision:
        """The candidate if it is better; else the champion's own recipe, if these data can carry it; else nothing."""
        champion, judged_as = self._judge_incumbent(contest)
        verdict = decide_promotion(contest.candidate, champion, contest.popularity, self._policy.gate)
        recipe, evaluation, is_refresh = contest.recipe, contest.candidate, not verdict.promote
        if is_refresh:
            refresh, renewed = self._refresh(contest, champion, judged_as)
            verdict = replace(refresh, reasons=(*verdict.reasons, *refresh.reasons))
            is_refresh = refresh.promote
            recipe, evaluation = (contest.incumbent.recipe, renewed) if is_refresh else (recipe, evaluation)
        obstacles = self._obstacles(contest.incumbent, evaluation)
        if obstacles:
            refusals = () if verdict.promote else verdict.reasons
            verdict = Verdict(False, (*refusals, *obstacles), verdict.details)
        return Decision(
            verdict,
            recipe,
            evaluation,
            contest.candidate,
            champion,
            contest.popularity,
            judged_as,
            is_refresh and verdict.promote,
            contest.recipe.table,
            contest.repeats,
        )

    def _judge_incumbent(self, contest: Comparison) -> tuple[Evaluation, str]:
        """The champion's evaluation, and how it was come by."""
        if contest.incumbent.served is None:
            return self._judge_own_recipe(contest), "refitted"
        progress = self._tracker.within("judging champion", 0.6, 0.65)
        aligned = AlignedModel(contest.incumbent.served, contest.train, self._snapshot.items)
        return evaluate(aligned, contest.train, contest.held, seed=self._seed, progress=progress), "served"

    def _judge_own_recipe(self, contest: Comparison) -> Evaluation:
        """The champion's recipe, fitted to the training part."""
        if same_recipe(contest.recipe, contest.incumbent.recipe):
            return contest.candidate  # the same recipe on the same data is the same model: no need to fit it twice
        return self._judge_recipe(contest.incumbent.recipe, contest.train, contest.held, "champion", 0.65, 0.75)

    def _refresh(self, contest: Comparison, champion: Evaluation, judged_as: str) -> tuple[Verdict, Evaluation]:
        """May the champion's own recipe, fitted to the present data, take the champion's place?"""
        columns, incumbent = self._snapshot.columns, contest.incumbent
        if end_of(columns) < incumbent.last_event or len(columns.user) < 0.9 * incumbent.interactions:
            return Verdict(False, ("the champion was fitted to more or newer data than this window holds",)), champion
        renewed = champion if judged_as == "refitted" else self._judge_own_recipe(contest)
        verdict = decide_promotion(
            renewed, champion, contest.popularity, replace(self._policy.gate, margin=-self._policy.refresh_margin)
        )
        if verdict.promote:
            told = "the champion's own recipe goes on, fitted to the present data"
            return replace(verdict, reasons=(told,)), renewed
        return replace(verdict, reasons=tuple(f"the champion's own recipe: {why}" for why in verdict.reasons)), renewed

    def _obstacles(self, incumbent: ChampionSnapshot, chosen: Evaluation) -> tuple[str, ...]:
        """What makes these data too doubtful to replace a champion, whatever was learnt from them."""
        obstacles = []
        n_items, metric = self._snapshot.n_items, self._policy.gate.metric
        if n_items < self._policy.min_catalog_share * incumbent.items:
            obstacles.append(f"it knows {n_items} items, the champion {incumbent.items}: the catalog has shrunk")
        if chosen.mean(metric) < incumbent.score * (1.0 - self._policy.max_quality_drop):
            was, now = incumbent.score, chosen.mean(metric)
            obstacles.append(f"{metric} is {now:.4f} on these data, and was {was:.4f} when the champion was trained")
        return tuple(obstacles)


def same_recipe(one: Recipe, other: Recipe) -> bool:
    """True where both make the same model of the same data."""
    # Compared as JSON: a recipe read from the database has lists where a fresh one may have tuples.
    written = (msgspec.json.encode(recipe.parameters, order="deterministic") for recipe in (one, other))
    return one.name == other.name and len(set(written)) == 1

"""What a training decides, as computation: choose a recipe, fit it, judge it beside champion and popularity.

No I/O here: a snapshot in, a decision out. docs/adr/0003-judging-the-champion.md tells why the champion is judged the
way it is, and when its own recipe is refreshed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import numpy as np

from app.application.aligned import Aligned
from app.application.artifacts import LoadedModel
from app.application.computing import Tracker
from app.application.evaluation import Evaluation, HoldOut, evaluate, hold_out
from app.application.selection import Recipe, select
from app.domain.dataset import Dataset
from app.domain.exceptions import NotEnoughDataError
from app.domain.gate import GatePolicy, Verdict, judge
from app.domain.models import EventColumns, Item, User
from app.domain.recommender import Progress, Recommender, Recommenders
from app.domain.signals import SignalPolicy, dataset_from
from app.domain.splits import time_split


@dataclass(frozen=True, slots=True)
class TrainingPolicy:
    """What does not change from one training to the next. `threads` caps BLAS and OpenMP."""

    signals: SignalPolicy = field(default_factory=SignalPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    test_fraction: float = 0.1
    budget_seconds: float = 120.0
    keep_versions: int = 5
    heartbeat_seconds: float = 5.0
    threads: int = 1
    max_quality_drop: float = 0.3
    """How far a refreshed champion may fall below what it scored when it was trained (F12 of the test plan)."""
    min_catalogue_share: float = 0.5
    """The least share of the champion's items that a new model must know (F11 of the test plan)."""


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
        """Items with events or in the catalogue."""
        with_events = (self.columns.item_ids[position] for position in np.unique(self.columns.item).tolist())
        return len({item.item_id for item in self.items}.union(with_events))


@dataclass(frozen=True, slots=True)
class Incumbent:
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


def fit(recipe: Recipe, dataset: Dataset, recommenders: Recommenders, seed: int, progress: Progress) -> Recommender:
    """A recommender made by a recipe."""
    recommender = recommenders.build(recipe.name, recipe.parameters)
    recommender.fit(dataset, seed=seed, progress=progress)
    return recommender


def hold_out_start(columns: EventColumns, policy: TrainingPolicy) -> float:
    """The Unix time at which the hold-out of these events begins."""
    end_of(columns)
    _, test = time_split(columns, policy.test_fraction)
    return float(test.occurred_at.min())


class Judging:
    """One comparison on one hold-out."""

    def __init__(
        self,
        snapshot: Snapshot,
        recommenders: Recommenders,
        policy: TrainingPolicy,
        seed: int,
        tracker: Tracker,
    ) -> None:
        self._snapshot = snapshot
        self._recommenders = recommenders
        self._policy = policy
        self._seed = seed
        self._tracker = tracker

    def decide(self, model_type: str, incumbent: Incumbent | None) -> Decision:
        """Choose a recipe on the training part, fit it there, judge it on the hold-out, and decide."""
        train, held = self._cut()
        recipe = select(
            train,
            self._recommenders,
            model_type,
            seed=self._seed,
            budget_seconds=self._policy.budget_seconds,
            progress=self._tracker.within("selecting", 0.05, 0.45),
            start=incumbent.recipe.parameters if incumbent and incumbent.recipe.name == model_type else None,
        )
        candidate = self._judge_recipe(recipe, train, held, "candidate", 0.45, 0.6)
        popularity = self._judge_recipe(Recipe("popularity", {}), train, held, "popularity", 0.6, 0.62)
        if incumbent is None:
            verdict = judge(candidate, None, popularity, self._policy.gate)
            return Decision(verdict, recipe, candidate, candidate, None, popularity, None, False, recipe.table)
        champion, judged_as = self._judge_incumbent(incumbent, recipe, candidate, train, held)
        return self._against(incumbent, recipe, candidate, champion, popularity, judged_as)

    def _cut(self) -> tuple[Dataset, HoldOut]:
        columns = self._snapshot.columns
        end_of(columns)
        self._tracker.at("preparing", 0.03)
        train_columns, test_columns = time_split(columns, self._policy.test_fraction)
        train = dataset_of(train_columns, self._snapshot, self._policy)
        return train, hold_out(train, test_columns, self._snapshot.users)

    def _judge_recipe(
        self, recipe: Recipe, train: Dataset, held: HoldOut, name: str, low: float, high: float
    ) -> Evaluation:
        middle = (low + high) / 2
        progress = self._tracker.within(f"fitting {name}", low, middle)
        recommender = fit(recipe, train, self._recommenders, self._seed, progress)
        progress = self._tracker.within(f"judging {name}", middle, high)
        return evaluate(recommender, train, held, seed=self._seed, progress=progress)

    def _judge_incumbent(
        self, incumbent: Incumbent, recipe: Recipe, candidate: Evaluation, train: Dataset, held: HoldOut
    ) -> tuple[Evaluation, str]:
        """The champion's evaluation, and how it was come by."""
        if incumbent.served is not None:
            progress = self._tracker.within("judging champion", 0.62, 0.75)
            aligned = Aligned(incumbent.served, train, self._snapshot.items)
            return evaluate(aligned, train, held, seed=self._seed, progress=progress), "served"
        if same_recipe(recipe, incumbent.recipe):
            return candidate, "refitted"  # the same recipe on the same data is the same model: no need to fit it twice
        return self._judge_recipe(incumbent.recipe, train, held, "champion", 0.62, 0.75), "refitted"

    def _against(
        self,
        incumbent: Incumbent,
        recipe: Recipe,
        candidate: Evaluation,
        champion: Evaluation,
        popularity: Evaluation,
        judged_as: str,
    ) -> Decision:
        gate = self._policy.gate
        shrunk = self._shrunk(incumbent)
        verdict = judge(candidate, champion, popularity, gate)
        chosen, evaluation, is_refresh = recipe, candidate, False
        if not verdict.promote and judged_as == "refitted":
            refusals = self._stale(incumbent, champion)
            refresh = judge(champion, None, popularity, gate)
            if refresh.promote and not refusals:
                told = (*verdict.reasons, "the champion's own recipe goes on, fitted to the present data")
                verdict = Verdict(True, told, verdict.details)
                chosen, evaluation, is_refresh = incumbent.recipe, champion, True
            else:
                verdict = Verdict(False, (*verdict.reasons, *refusals), verdict.details)
        if shrunk:
            kept = () if verdict.promote else verdict.reasons
            verdict = Verdict(False, (*kept, shrunk), verdict.details)
        return Decision(
            verdict, chosen, evaluation, candidate, champion, popularity, judged_as, is_refresh, recipe.table
        )

    def _shrunk(self, incumbent: Incumbent) -> str | None:
        """Why the catalogue is too small to follow the champion's."""
        n_items = self._snapshot.n_items
        if n_items >= self._policy.min_catalogue_share * incumbent.items:
            return None
        return f"it knows {n_items} items, the champion {incumbent.items}: the catalogue has shrunk too much"

    def _stale(self, incumbent: Incumbent, champion: Evaluation) -> tuple[str, ...]:
        """Why the champion's recipe must not be refreshed with these data."""
        refusals = []
        columns, metric = self._snapshot.columns, self._policy.gate.metric
        if end_of(columns) < incumbent.last_event or len(columns.user) < incumbent.interactions * 0.9:
            refusals.append("the champion was fitted to more or newer data than this window holds")
        floor = incumbent.score * (1.0 - self._policy.max_quality_drop)
        if champion.mean(metric) < floor:
            was, now = incumbent.score, champion.mean(metric)
            refusals.append(f"on these data the champion's recipe falls from {metric} {was:.4f} to {now:.4f}")
        return tuple(refusals)


def same_recipe(one: Recipe, other: Recipe) -> bool:
    """True where both make the same model of the same data."""
    # Compared as JSON: a recipe read from the database has lists where a fresh one may have tuples.
    written = (msgspec.json.encode(recipe.parameters, order="deterministic") for recipe in (one, other))
    return one.name == other.name and len(set(written)) == 1

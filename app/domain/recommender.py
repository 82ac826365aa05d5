"""The one interface behind which every recommender stands (docs/design.md §9).

A recommender ranks from a *history*, never from a stored user row: freshness, new users and small artifacts follow.
Training-only libraries are imported inside `fit`; `restore` and `score` need NumPy, SciPy and FAISS alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories

MEMBER_OF_TYPE: Mapping[str, str] = MappingProxyType(
    {"collaborative": "ials", "content": "content", "sequential": "sequence", "popular": "popularity"}
)
"""The `type` of the HTTP API and the command line → the recommender that answers it; `hybrid` is the whole blend."""


class ProgressCallback(Protocol):
    """Told how far a long computation is; raises TrainingCancelledError when the work should stop."""

    def __call__(self, stage: str, fraction: float) -> None:
        """`fraction` is 0–1 of the stage named; called from the thread that computes."""


class Scorer(Protocol):
    """The part of a Recommender that judging needs."""

    name: str

    @property
    @abstractmethod
    def n_items(self) -> int:
        """Number of item columns."""

    @abstractmethod
    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        """As `Recommender.score`."""


class Recommender(Protocol):
    """Contract of every recommender; the suite in tests/unit/models runs over all of them.

    Deterministic: the same dataset, parameters and seed on one thread give the same arrays, bit for bit.
    Immutable after `fit`: `score` may be called from several threads at once.
    """

    name: str
    """Its name in the table of app/models: `popularity`, `ials`, `content`, `hybrid`, …"""

    @property
    @abstractmethod
    def n_items(self) -> int:
        """Number of item columns it knows (training items, then those added by `extended`)."""

    @abstractmethod
    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        """Learn. Raises NotEnoughDataError where nothing can be learnt, TrainingCancelledError from `progress`."""

    @abstractmethod
    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        """(len(histories), n_items) scores, higher is better, all finite; or only the columns `items`, in that order.

        Subset-consistent: `score(h, items)` equals `score(h)[:, items]` within rounding: a score never depends on
        which other items are asked for. An empty history is allowed. Seen items are scored like any other: hiding
        them is the caller's choice.
        """

    @abstractmethod
    def contributions(self, history: Histories, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """(history length + 1, len(items)): what each entry of one history adds to the score of each item.

        The last row is what does not come from the history (popularity, profile, bias). Columns sum to the score.
        """

    @abstractmethod
    def extended(self, features: sp.csr_matrix) -> Recommender:
        """A copy that also knows `features.shape[0]` new items, appended after its present ones.

        `features` is (n_new, n_features) with the columns of the training set's `item_features.names`. Recommenders
        that cannot place an unseen item give it their lowest informative score (0 neighbours, no popularity).
        """

    @abstractmethod
    def parameters(self) -> Mapping[str, object]:
        """The JSON-serialisable hyper-parameters it was built with: `build(name, parameters)` makes its twin."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Everything it has learnt, as named C-contiguous arrays (no object dtype)."""


@runtime_checkable
class Tower(Protocol):
    """A recommender whose score is a dot product: searchable by a vector index."""

    @property
    @abstractmethod
    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, factors), biases as extra columns."""

    @abstractmethod
    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """(len(histories), factors): user vectors computed from the histories, also for users never seen."""


@runtime_checkable
class PlacesNew(Protocol):
    """A recommender that places an item nobody has touched by its features."""

    @abstractmethod
    def as_new(self, dataset: Dataset, items: NDArray[np.bool_]) -> Recommender:
        """A twin for which nobody has touched these items, (n_items,) bool: they stand where their features put them.

        What places them is learnt from the others alone; what does not may stay as it is, so that this is cheap.
        """


@runtime_checkable
class Neighbourhood(Protocol):
    """A recommender that scores by item-to-item weights: proposes the neighbours of what was seen."""

    @property
    @abstractmethod
    def neighbours(self) -> sp.csr_matrix:
        """(n_items, n_items) float32 CSR: row j holds the items that j speaks for."""


@runtime_checkable
class Blended(Protocol):
    """A recommender whose score is the sum of what its members say."""

    @property
    @abstractmethod
    def members(self) -> Mapping[str, Recommender]:
        """The fitted members by name."""

    @abstractmethod
    def shares(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Mapping[str, NDArray[np.float32]]:
        """Member → its weighted part, (len(histories), n_items or len(items)); the parts sum to `score`.

        Members that weigh nothing for all of these histories may be left out.
        """


class Recommenders(Protocol):
    """The table of recommenders (app/models), as the application sees it."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Every name `build` knows."""

    @abstractmethod
    def optional(self) -> Collection[str]:
        """Names that selection may try besides the usual ones: what they need is here, and they were asked for.

        May load libraries: called by a training only.
        """

    @abstractmethod
    def as_new(
        self, members: Mapping[str, Recommender], dataset: Dataset, items: NDArray[np.bool_]
    ) -> Mapping[str, Scorer]:
        """Members as a blend would ask them about `items`, (n_items,) bool, if nobody had touched these.

        `members` are fitted to `dataset`, which has features of the items.
        """

    @abstractmethod
    def build(self, name: str, parameters: Mapping[str, object]) -> Recommender:
        """An unfitted recommender. Raises InputError for an unknown name or parameter."""

    @abstractmethod
    def restore(
        self, name: str, parameters: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]
    ) -> Recommender:
        """A fitted recommender from what `parameters()` and `arrays()` gave.

        Raises ArtifactDamagedError where names, shapes or dtypes do not fit together or values are not finite.
        """

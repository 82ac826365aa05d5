"""How the transformer learns, with torch. Imported only by a training; nothing of torch leaves this module.

Every position of a window predicts the event after it, by cross-entropy over the whole catalog or over many drawn
items: with few negatives SASRec is overconfident, with many it needs no other trick (gSASRec,
https://arxiv.org/abs/2308.07192; https://arxiv.org/abs/2309.07602).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # as everybody calls it
from numpy.typing import NDArray

from app.domain.exceptions import TrainingError
from app.domain.recommender import ProgressCallback
from app.domain.threads import thread_limit
from app.models.sequence_moments import Steps
from app.models.transformer_forward import NORM_EPSILON, Weights

_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; from there it falls to zero along a cosine."""

_LOOSE_SORT = 0.25
"""Windows of a batch are of like length, but never the same ones together: noise of this share of the length."""

Tensors = Mapping[str, Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What training needs besides data and first weights (TransformerParameters says what each is)."""

    epochs: int
    batch: int
    learning_rate: float
    dropout: float
    negatives: int
    device: str


def learn(weights: Weights, steps: Steps, plan: Plan, *, seed: int, progress: ProgressCallback) -> Weights:
    """The weights after all epochs. Deterministic on a CPU for a seed and a number of threads."""
    device = _device(plan.device)
    with _threads(thread_limit()):
        # A copy: on a CPU the tensors would share the memory of the first weights.
        tensors = {
            name: torch.tensor(array, device=device, requires_grad=True) for name, array in weights.arrays().items()
        }
        _Lesson(tensors, steps, plan, weights.distances.shape[2], seed, device).run(progress)
        learnt = {name: one.detach().cpu().numpy().copy() for name, one in tensors.items()}
    if not all(np.isfinite(array).all() for array in learnt.values()):
        raise TrainingError("the transformer has diverged: try a lower learning_rate")
    return replace(weights, **learnt)


def forward(tensors: Tensors, items: Any, drop: Any = None) -> Any:
    """(n, width, factors) states after each of `items` (n, width), oldest first; as `transformer_forward.read`."""
    dropped = drop or (lambda state: state)
    factors = tensors["vectors"].shape[1]
    state = dropped(F.embedding(items, tensors["vectors"]) * math.sqrt(factors))
    places = torch.arange(items.shape[1], device=items.device)
    back = places[:, None] - places
    for layer in range(len(tensors["outward"])):
        normed = _norm(state, tensors["norms"][2 * layer])
        bias = tensors["distances"][layer][:, back.clamp(min=0)].masked_fill(back < 0, -math.inf)
        mixed = _attend(normed @ tensors["inward"][layer], bias)
        state = state + dropped(mixed @ tensors["outward"][layer])
        normed = _norm(state, tensors["norms"][2 * layer + 1])
        inner = torch.relu(normed @ tensors["widen"][layer] + tensors["widen_bias"][layer])
        state = state + dropped(inner @ tensors["narrow"][layer] + tensors["narrow_bias"][layer])
    return _norm(state, tensors["norms"][-1])


def _attend(inward: Any, bias: Any) -> Any:
    n, width, thrice = inward.shape
    heads, factors = len(bias), thrice // 3
    q, k, v = inward.reshape(n, width, 3, heads, factors // heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) * (factors // heads) ** -0.5 + bias
    return (torch.softmax(scores, dim=3) @ v).transpose(1, 2).reshape(n, width, factors)


def _norm(state: Any, gain_and_shift: Any) -> Any:
    return F.layer_norm(state, state.shape[-1:], gain_and_shift[0], gain_and_shift[1], NORM_EPSILON)


def has_gpu() -> bool:
    """Whether torch can use one."""
    return bool(torch.cuda.is_available())


def _device(name: str) -> Any:
    """`auto`: a GPU where there is one. Raises TrainingError where the one asked for is not there."""
    if name == "cuda" and not has_gpu():
        raise TrainingError("device cuda: torch finds no GPU")
    return torch.device("cuda" if name != "cpu" and has_gpu() else "cpu")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Lesson:
    """State of one training. Generators of its own: torch's global one belongs to whoever else is in the process."""

    def __init__(self, tensors: Tensors, steps: Steps, plan: Plan, length: int, seed: int, device: Any) -> None:
        self._tensors, self._steps, self._plan, self._length = tensors, steps, plan, length
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._device = device
        self._optimizer = torch.optim.AdamW(
            tensors.values(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )

    def run(self, progress: ProgressCallback) -> None:
        for epoch in range(self._plan.epochs):
            batches = list(self._batches())
            for number, (first, sizes) in enumerate(batches):
                done = (epoch + number / len(batches)) / self._plan.epochs
                progress("transformer", done)
                self._step(first, sizes, done)

    def _batches(self) -> Iterator[tuple[Ints, Ints]]:
        """(first step, number of inputs) of windows: each user's steps, cut anew at random places every epoch."""
        first, sizes = self._steps.windows(self._length, self._rng)
        noise = self._rng.uniform(0.0, _LOOSE_SORT * self._length, len(sizes))
        order = np.argsort(sizes + noise, kind="stable")
        cuts = range(0, len(order), self._plan.batch)
        for start in self._rng.permutation(np.array(cuts)):
            rows = order[start : start + self._plan.batch]
            yield first[rows], sizes[rows]

    def _step(self, first: Ints, sizes: Ints, done: float) -> None:
        rise, fall = done / _WARM_UP, 0.5 + 0.5 * math.cos(math.pi * (done - _WARM_UP) / (1.0 - _WARM_UP))
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.learning_rate * (min(1.0, rise + 0.01) if done < _WARM_UP else fall)
        self._optimizer.zero_grad()
        self._loss(first, sizes).backward()
        self._optimizer.step()

    def _loss(self, first: Ints, sizes: Ints) -> Any:
        inside = np.arange(sizes.max()) < sizes[:, None]
        places = np.where(inside, first[:, None] + np.arange(sizes.max()), 0)
        items = self._steps.item
        states = forward(self._tensors, torch.from_numpy(items[places]).to(self._device), self._drop)
        asked = states[torch.from_numpy(inside).to(self._device)]
        targets = torch.from_numpy(items[places[inside] + 1]).to(self._device)
        vectors = self._tensors["vectors"]
        if not 0 < self._plan.negatives < len(vectors):
            return F.cross_entropy(asked @ vectors.T, targets)
        return self._sampled_loss(asked, targets, vectors)

    def _sampled_loss(self, asked: Any, targets: Any, vectors: Any) -> Any:
        """Items drawn once a batch stand for all: each counts for as many as there are for every one drawn."""
        count = self._plan.negatives
        drawn = torch.randperm(len(vectors), generator=self._generator, device=self._device)[:count]
        others = asked @ F.embedding(drawn, vectors).T + math.log((len(vectors) - 1) / count)
        column = torch.full((len(vectors),), -1, device=self._device).index_copy(
            0, drawn, torch.arange(count, device=self._device)
        )[targets]
        # What comes next is no wrong answer.
        met = torch.nonzero(column >= 0)[:, 0]
        others[met, column[met]] = -math.inf
        right = (asked * F.embedding(targets, vectors)).sum(dim=1)
        return (torch.logaddexp(torch.logsumexp(others, dim=1), right) - right).mean()

    def _drop(self, state: Any) -> Any:
        """Dropout by the byte: torch's own draws a number per element, which took a sixth of the training."""
        kept = max(1, round(256 * (1.0 - self._plan.dropout)))
        if kept == 256:
            return state
        size, lowest = state.numel(), torch.iinfo(torch.int64).min
        drawn = torch.randint(lowest, -lowest - 1, (-(-size // 8),), generator=self._generator, device=self._device)
        mask = drawn.view(torch.uint8)[:size].view(state.shape) < kept
        return state * (mask.to(state.dtype) * (256.0 / kept))

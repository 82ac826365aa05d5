"""The libraries that compute item factors, behind one function. Imported only here, and only inside a training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.domain.exceptions import InputError
from app.domain.recommender import ProgressCallback
from app.domain.threads import thread_limit
from app.models.irspack_core import AlsSolver

Floats = NDArray[np.float32]

ENGINES = ("irspack", "implicit", "implicit-bpr")


@dataclass(frozen=True, slots=True)
class FactorParameters:
    """Of iALS. `alpha`: weight of unobserved pairs. `flat`: every liked pair weighs 1, whatever its signal.

    `engine`: irspack (conjugate gradients, 2–4 times faster at 256 factors), implicit (ALS) or implicit-bpr, whose
    item vectors are used with the same fold-in.
    """

    factors: int = 128
    epochs: int = 12
    alpha: float = 0.3
    regularization: float = 0.005
    nu: float = 1.0
    flat: bool = True
    engine: str = "irspack"
    cold_regularization: float = 10.0


def factorize(matrix: sp.csr_matrix, parameters: FactorParameters, *, seed: int, progress: ProgressCallback) -> Floats:
    """(n_items, factors) item vectors of the positive (n_users, n_items) matrix; progress after each epoch."""
    if parameters.engine == "irspack":
        return _irspack(matrix, parameters, seed, progress)
    if parameters.engine == "implicit":
        return _implicit_als(matrix, parameters, seed, progress)
    if parameters.engine == "implicit-bpr":
        return _implicit_bpr(matrix, parameters, seed, progress)
    raise InputError(f"engine is one of {', '.join(ENGINES)}", "engine")


def _irspack(matrix: sp.csr_matrix, p: FactorParameters, seed: int, progress: ProgressCallback) -> Floats:
    trainer = AlsSolver(
        matrix.astype(np.float32),
        factors=p.factors,
        alpha=p.alpha,
        regularization=p.regularization,
        nu=p.nu,
        seed=seed,
        threads=thread_limit(),
    )
    for epoch in range(p.epochs):
        trainer.run_epoch()
        progress("ials", (epoch + 1) / (p.epochs + 1))
    return np.ascontiguousarray(trainer.item_factors, dtype=np.float32)


def _implicit_als(matrix: sp.csr_matrix, p: FactorParameters, seed: int, progress: ProgressCallback) -> Floats:
    from implicit.als import AlternatingLeastSquares

    # implicit fixes the unobserved weight at 1: everything is divided by alpha instead.
    size = float(np.mean(matrix.shape))
    scaled = p.regularization * (p.alpha * size + matrix.nnz / size) ** p.nu / p.alpha
    model = AlternatingLeastSquares(
        factors=p.factors,
        regularization=scaled,
        alpha=1.0 + 1.0 / p.alpha,
        iterations=p.epochs,
        random_state=seed,
        num_threads=thread_limit(),
        use_gpu=False,
    )
    # implicit runs its own threads; a threaded BLAS below them is five times slower.
    with threadpool_limits(1, "blas"):
        model.fit(
            matrix, show_progress=False, callback=lambda epoch, *_: progress("ials", (epoch + 1) / (p.epochs + 1))
        )
    return np.ascontiguousarray(model.item_factors, dtype=np.float32)


def _implicit_bpr(matrix: sp.csr_matrix, p: FactorParameters, seed: int, progress: ProgressCallback) -> Floats:
    from implicit.bpr import BayesianPersonalizedRanking

    # One thread: several would race for the factors, and the same seed would not give the same model.
    model = BayesianPersonalizedRanking(
        factors=p.factors, learning_rate=0.05, iterations=p.epochs * 8, random_state=seed, num_threads=1, use_gpu=False
    )
    with threadpool_limits(1, "blas"):
        model.fit(matrix, show_progress=False, callback=lambda epoch, *_: progress("ials", epoch / (p.epochs * 9)))
    return np.ascontiguousarray(model.item_factors, dtype=np.float32)

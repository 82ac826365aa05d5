"""Linear algebra that recommenders share: a seeded SVD, a ridge on sparse features, TF-IDF."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float32]

_DIRECT_LIMIT = 3_000
"""Up to this many features the normal equations are solved directly (72 MB of float64, about a second)."""

_CG_STEPS = 30
_NARROW = 300
_RANK_TOLERANCE = 1e-3
"""Single precision keeps directions apart down to about this share of the strongest one."""


def randomized_svd(
    matrix: sp.csr_matrix, rank: int, *, seed: int, power: int = 3, oversampling: int = 16
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(singular values (k,), right singular vectors (n_columns, k)), k = min(rank, both sizes); largest first.

    Halko, Martinsson, Tropp 2011 (https://arxiv.org/abs/0909.4061), algorithm 4.4, with Cholesky QR in between; signs
    are fixed so that the same seed gives the same vectors.
    """
    n_rows, n_columns = matrix.shape
    k = min(rank, n_rows, n_columns)
    width = min(k + oversampling, n_rows, n_columns)
    probe = np.random.default_rng(seed).standard_normal((n_columns, width)).astype(np.float32)
    transposed = matrix.T.tocsr()
    # Narrow factorisations gain nothing from threads, and on a busy machine the threads wait for each other.
    with threadpool_limits(1 if width <= _NARROW else None, "blas"):
        basis = _orthonormal(matrix @ probe)
        for _ in range(power):
            basis = _orthonormal(matrix @ _orthonormal(transposed @ basis))
        image = transposed @ basis
        squares, rotation = np.linalg.eigh((image.T @ image).astype(np.float64))
        values = np.sqrt(np.maximum(squares[::-1][:k], 0.0))
        scale = np.divide(
            1.0, values, out=np.zeros_like(values), where=values > _RANK_TOLERANCE * max(values[0], 1e-30)
        )
        vectors = image @ (rotation[:, ::-1][:, :k] * scale).astype(np.float32)
    strongest = np.abs(vectors).argmax(axis=0) if len(vectors) else np.zeros(0, dtype=np.int64)
    signs = np.where(vectors[strongest, np.arange(vectors.shape[1])] < 0, np.float32(-1.0), np.float32(1.0))
    return values.astype(np.float32), np.ascontiguousarray(vectors * signs, dtype=np.float32)


def _orthonormal(block: NDArray[np.floating]) -> Floats:
    """An orthonormal basis of the columns: Cholesky QR, four times as fast as Householder's where it is safe."""
    single = np.asarray(block, dtype=np.float32)
    gram = (single.T @ single).astype(np.float64)
    try:
        factor = scipy.linalg.cholesky(gram, lower=False, check_finite=False)
    except np.linalg.LinAlgError:
        return _householder(single)
    diagonal = np.diag(factor)
    if diagonal.min() < _RANK_TOLERANCE * diagonal.max():
        return _householder(single)
    return np.asarray(single @ scipy.linalg.inv(factor).astype(np.float32), dtype=np.float32)


def _householder(block: Floats) -> Floats:
    return np.asarray(scipy.linalg.qr(block, mode="economic", check_finite=False)[0], dtype=np.float32)


def inverse_document_frequency(features: sp.csr_matrix) -> Floats:
    """(n_features,) smoothed: ln((1 + n) / (1 + n with the feature)) + 1."""
    documents = np.bincount(features.indices, minlength=features.shape[1])
    return np.asarray(np.log((1.0 + features.shape[0]) / (1.0 + documents)) + 1.0, dtype=np.float32)


def unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Rows scaled to unit Euclidean length; empty rows stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64).ravel())
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return sp.csr_matrix(sp.diags(scale.astype(np.float32)) @ matrix, dtype=np.float32)


def ridge(features: sp.csr_matrix, targets: Floats, row_weights: NDArray[np.float64], regularization: float) -> Floats:
    """(n_features, n_targets) minimising Σ row_weight · |features · B - targets|² + regularization · |B|².

    Directly where there are few features, by conjugate gradients on all targets at once where there are many.
    """
    n_features = features.shape[1]
    weighted = sp.diags(row_weights) @ features
    right = np.asarray(weighted.T @ targets, dtype=np.float64)
    if n_features <= _DIRECT_LIMIT:
        gram = np.asarray((features.T @ weighted).todense(), dtype=np.float64)
        gram[np.diag_indices(n_features)] += regularization
        solution = scipy.linalg.solve(gram, right, assume_a="pos", check_finite=False)
        return np.ascontiguousarray(solution, dtype=np.float32)
    return _conjugate_gradients(features, weighted, right, regularization)


def _conjugate_gradients(
    features: sp.csr_matrix, weighted: sp.csr_matrix, right: NDArray[np.float64], regularization: float
) -> Floats:
    back = weighted.T.tocsr()
    solution = np.zeros_like(right)
    residual = right.copy()
    direction = residual.copy()
    energy = np.einsum("ij,ij->j", residual, residual)
    for _ in range(_CG_STEPS):
        image = back @ (features @ direction) + regularization * direction
        curvature = np.einsum("ij,ij->j", direction, image)
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        solution += step * direction
        residual -= step * image
        fresh = np.einsum("ij,ij->j", residual, residual)
        direction = residual + np.divide(fresh, energy, out=np.zeros_like(energy), where=energy > 0) * direction
        energy = fresh
    return np.ascontiguousarray(solution, dtype=np.float32)

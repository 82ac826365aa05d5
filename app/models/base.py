"""What recommenders share: parameters, sparse helpers, and the checks of restored arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import ArtifactDamagedError, InputError, NotEnoughDataError, TrainingError

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
ParametersT = TypeVar("ParametersT")


def parse_parameters(kind: type[ParametersT], given: Mapping[str, object]) -> ParametersT:
    """A frozen parameter dataclass from JSON values. Raises InputError for unknown names and wrong types."""
    assert is_dataclass(kind)
    known = {spec.name: spec.default for spec in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"unknown parameter: {name}", name)
        default = known[name]
        wanted = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise InputError(f"{name} must be a {type(default).__name__}", name)
    return kind(**given)


def as_parameters(parameters: object) -> dict[str, object]:
    """The JSON form of a parameter dataclass."""
    return asdict(parameters)  # type: ignore[call-overload, no-any-return] # every caller passes a dataclass instance


def take(arrays: Mapping[str, Array], name: str, shape: tuple[int | None, ...], dtype: type[np.generic]) -> Array:
    """One restored array, checked: present, of this dtype, of this shape (None = any), finite.

    Raises ArtifactDamagedError otherwise.
    """
    array = arrays.get(name)
    if array is None:
        raise ArtifactDamagedError(name, "missing")
    if array.dtype != np.dtype(dtype) or array.ndim != len(shape):
        raise ArtifactDamagedError(name, "wrong type or dimension")
    if any(wanted is not None and wanted != found for wanted, found in zip(shape, array.shape, strict=True)):
        raise ArtifactDamagedError(name, "wrong shape")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise ArtifactDamagedError(name, "values are not finite")
    return array


def take_floats(arrays: Mapping[str, Array], name: str, *shape: int | None) -> Floats:
    """`take` for float32."""
    return take(arrays, name, shape, np.float32)  # type: ignore[return-value] # dtype checked by take


def csr_arrays(name: str, matrix: sp.csr_matrix) -> dict[str, Array]:
    """The arrays of a sparse matrix, for an artifact."""
    return {
        f"{name}.data": np.ascontiguousarray(matrix.data, dtype=np.float32),
        f"{name}.indices": np.ascontiguousarray(matrix.indices, dtype=np.int32),
        f"{name}.indptr": np.ascontiguousarray(matrix.indptr, dtype=np.int64),
        f"{name}.shape": np.array(matrix.shape, dtype=np.int64),
    }


def take_csr(arrays: Mapping[str, Array], name: str, n_rows: int | None = None) -> sp.csr_matrix:
    """The sparse matrix `csr_arrays` wrote. Raises ArtifactDamagedError where its parts do not fit together."""
    data = take_floats(arrays, f"{name}.data", None)
    indices = take(arrays, f"{name}.indices", (None,), np.int32)
    indptr = take(arrays, f"{name}.indptr", (None,), np.int64)
    rows, columns = (int(size) for size in take(arrays, f"{name}.shape", (2,), np.int64))
    fits = (
        len(indptr) == rows + 1
        and len(data) == len(indices)
        and indptr[0] == 0
        and indptr[-1] == len(data)
        and bool((np.diff(indptr) >= 0).all())
        and (not len(indices) or (indices.min() >= 0 and indices.max() < columns))
        and (n_rows is None or n_rows == rows)
    )
    if not fits:
        raise ArtifactDamagedError(name, "not a sparse matrix")
    return sp.csr_matrix((data, indices, indptr), shape=(rows, columns))


def positives(dataset: Dataset, *, flat: bool) -> sp.csr_matrix:
    """(n_users, n_items) float32 CSR of the positive weights: all ones, or scaled to a mean of one.

    Raises NotEnoughDataError where nobody liked anything, TrainingError where a weight is not a number.
    """
    if not np.isfinite(dataset.histories.weights).all():
        raise TrainingError("a weight is not a finite number")
    # A copy: dropping zeros works in place, and the dataset's arrays are shared.
    matrix = dataset.matrix().copy()
    matrix.data = np.where(matrix.data > 0, matrix.data, 0.0).astype(np.float32)
    matrix.eliminate_zeros()
    if not matrix.nnz:
        raise NotEnoughDataError("no positive interactions in the window")
    matrix.data = np.ones_like(matrix.data) if flat else matrix.data / np.float32(matrix.data.mean())
    return matrix


def known(histories: Histories, n_items: int) -> sp.csr_matrix:
    """(n, n_items) CSR of the histories' weights; positions the recommender does not have are dropped."""
    if not len(histories.items) or histories.items.max() < n_items:
        return histories.matrix(n_items)
    keep = histories.items < n_items
    counts = np.concatenate([[0], np.cumsum(keep)])
    return sp.csr_matrix(
        (histories.weights[keep], histories.items[keep], counts[histories.indptr]), shape=(len(histories), n_items)
    )


def columns(scores: Floats, items: NDArray[np.int32] | None) -> Floats:
    """The columns asked for."""
    return scores if items is None else np.ascontiguousarray(scores[:, items])

"""What an artifact is made of: a manifest, one safetensors file and one list of ids. Pure functions, bytes in and out.

An artifact is data and never code: safetensors (raw arrays behind a JSON header) and JSON. The manifest binds each
role to one file name, size and SHA-256, and declares every array's name, dtype and shape; its own SHA-256 stands in
the model's database row. Everything is checked against these declarations before anything is parsed.

Bytes are deterministic: no time, no training id, keys sorted. The same data, seed and code give the same manifest.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from app.domain.dataset import IdMap
from app.domain.exceptions import ArtifactDamagedError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
ARRAYS: Final = "arrays"
IDS: Final = "ids"
FILES: Final[Mapping[str, str]] = {ARRAYS: "model.safetensors", IDS: "ids.json"}
"""Role → file name. A manifest names exactly these: nothing else is ever fetched."""

MAX_MANIFEST_BYTES: Final = 8 * 2**20
MAX_PART_BYTES: Final = 4 * 2**30
MAX_ARRAYS: Final = 1_024
_MAX_DIMENSIONS: Final = 4

_ARRAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:-]{0,199}\Z")
_DTYPE_NAMES: Final[Mapping[str, str]] = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""The dtypes we write, with their safetensors names (https://github.com/huggingface/safetensors#format)."""

_ITEM_BYTES: Final[Mapping[str, int]] = {name: np.dtype(dtype).itemsize for dtype, name in _DTYPE_NAMES.items()}

Arrays = Mapping[str, NDArray[np.generic]]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the artifact."""

    file: str
    size: int
    sha256: str


class ArrayFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one array must look like; `dtype` is the safetensors name."""

    dtype: str
    shape: tuple[int, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table of contents. `facts`: data window, seed, metrics, code version, as the trainer wrote them."""

    format: int
    recommender: str
    parameters: dict[str, Any]
    parts: dict[str, Part]
    arrays: dict[str, ArrayFacts]
    n_items: int
    n_features: int
    n_user_features: int
    facts: dict[str, Any]


class Ids(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """External ids by position, and the feature names by column."""

    items: tuple[str, ...]
    features: tuple[str, ...]
    user_features: tuple[str, ...]


_encoder = msgspec.json.Encoder(order="deterministic")
_manifest_decoder = msgspec.json.Decoder(Manifest)
_ids_decoder = msgspec.json.Decoder(Ids)


def sha256(data: bytes) -> str:
    """The lower-case hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def pack_arrays(arrays: Arrays) -> tuple[bytes, dict[str, ArrayFacts]]:
    """The safetensors file and what the manifest says about it. Refuses what `unpack_arrays` would not take."""
    facts = {name: _facts(name, array) for name, array in sorted(arrays.items())}
    data = safetensors.numpy.save({name: np.ascontiguousarray(arrays[name]) for name in facts})
    _check_declared(facts, len(data))
    return data, facts


def pack_ids(items: Sequence[str], features: Sequence[str], user_features: Sequence[str]) -> bytes:
    """The id list as JSON."""
    return _encoder.encode(Ids(tuple(items), tuple(features), tuple(user_features)))


def pack_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON with sorted keys."""
    return _encoder.encode(manifest)


def describe(role: str, data: bytes) -> Part:
    """The manifest's line about a part."""
    return Part(FILES[role], len(data), sha256(data))


def unpack_manifest(data: bytes, expected_sha256: str) -> Manifest:
    """The manifest, if it is the one the database names and declares nothing impossible."""
    if sha256(data) != expected_sha256:
        raise ArtifactDamagedError(MANIFEST, "checksum")
    try:
        manifest = _manifest_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ArtifactDamagedError(MANIFEST, "shape") from error
    if manifest.format != FORMAT:
        raise ArtifactDamagedError(MANIFEST, "format")
    if {role: part.file for role, part in manifest.parts.items()} != FILES:
        raise ArtifactDamagedError(MANIFEST, "parts")
    if not all(0 <= part.size <= MAX_PART_BYTES for part in manifest.parts.values()):
        raise ArtifactDamagedError(MANIFEST, "declared size")
    _check_declared(manifest.arrays, manifest.parts[ARRAYS].size)
    return manifest


def check_part(part: Part, data: bytes) -> None:
    """Refuse a part whose size or checksum is not the declared one."""
    if len(data) != part.size:
        raise ArtifactDamagedError(part.file, "size")
    if sha256(data) != part.sha256:
        raise ArtifactDamagedError(part.file, "checksum")


def unpack_arrays(data: bytes, declared: Mapping[str, ArrayFacts]) -> dict[str, NDArray[np.generic]]:
    """The arrays, if names, dtypes and shapes are the declared ones and every number is finite."""
    try:
        arrays: dict[str, NDArray[np.generic]] = safetensors.numpy.load(data)
    except Exception as error:  # the library raises its own SafetensorError, KeyError and ValueError for bad headers
        raise ArtifactDamagedError(FILES[ARRAYS], "format") from error
    if {name: _facts(name, array) for name, array in arrays.items()} != declared:
        raise ArtifactDamagedError(FILES[ARRAYS], "arrays")
    for array in arrays.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactDamagedError(FILES[ARRAYS], "not finite")
    return arrays


def unpack_ids(data: bytes, manifest: Manifest) -> tuple[IdMap, Ids]:
    """The id map and the names, if there are as many as declared and no id comes twice."""
    try:
        ids = _ids_decoder.decode(data)
        item_ids = IdMap(ids.items)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ArtifactDamagedError(FILES[IDS], "shape") from error
    counts = (len(ids.items), len(ids.features), len(ids.user_features))
    if counts != (manifest.n_items, manifest.n_features, manifest.n_user_features):
        raise ArtifactDamagedError(FILES[IDS], "counts")
    return item_ids, ids


def _facts(name: str, array: NDArray[np.generic]) -> ArrayFacts:
    dtype = _DTYPE_NAMES.get(array.dtype.name)
    if dtype is None:
        raise ArtifactDamagedError(FILES[ARRAYS], "dtype")
    return ArrayFacts(dtype, tuple(array.shape))


def _check_declared(arrays: Mapping[str, ArrayFacts], size: int) -> None:
    """Refuse declarations that no file of `size` bytes can hold, before a byte of it is read (M3 of the test plan)."""
    if not 0 < len(arrays) <= MAX_ARRAYS or not all(_ARRAY_NAME.match(name) for name in arrays):
        raise ArtifactDamagedError(MANIFEST, "array names")
    total = 0
    for facts in arrays.values():
        if facts.dtype not in _ITEM_BYTES or len(facts.shape) > _MAX_DIMENSIONS or min(facts.shape, default=0) < 0:
            raise ArtifactDamagedError(MANIFEST, "dtype or shape")
        total += math.prod(facts.shape) * _ITEM_BYTES[facts.dtype]
    if total > size:
        raise ArtifactDamagedError(MANIFEST, "declared size")

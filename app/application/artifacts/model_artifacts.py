"""Models to and from the artifact store: immutable keys, manifest last, checksum before parsing, canary before use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.application.artifacts import artifact_format as fmt
from app.application.artifacts.canary import Canary, check_canary, make_canary, read_canary
from app.domain.dataset import IdMap
from app.domain.entities import ModelVersion
from app.domain.exceptions import ArtifactDamagedError, ArtifactError, ArtifactMissingError, InputError
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import Recommender, Recommenders
from app.telemetry import ARTIFACT_REFUSALS


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified model, ready to score. Item vectors and scores are in the order of `item_ids`."""

    recommender: Recommender
    item_ids: IdMap
    feature_names: tuple[str, ...]
    user_feature_names: tuple[str, ...]
    manifest: fmt.Manifest


async def save_model(
    store: ArtifactStore,
    key: str,
    recommender: Recommender,
    item_ids: IdMap,
    feature_names: Sequence[str],
    facts: Mapping[str, object],
    *,
    user_feature_names: Sequence[str] = (),
) -> tuple[str, str]:
    """Write a fitted recommender below `key`, the manifest last; returns (artifact key, SHA-256 of the manifest).

    `facts` must be JSON-serialisable and hold neither times of day nor training ids, so that the same training gives
    the same bytes. Raises ArtifactDamagedError if the model fails its canary, ObjectExistsError if the key is written.
    """
    files = await asyncio.to_thread(pack, recommender, item_ids, feature_names, user_feature_names, facts)
    for file, data in files.items():
        await store.put(f"{key}/{file}", data)
    return key, fmt.sha256(files[fmt.MANIFEST])


def pack(
    recommender: Recommender,
    item_ids: IdMap,
    feature_names: Sequence[str],
    user_feature_names: Sequence[str],
    facts: Mapping[str, object],
) -> dict[str, bytes]:
    """File name → bytes, in the order in which they must be written, of a model that passes its canary."""
    if len(item_ids) != recommender.n_items:
        raise ArtifactDamagedError(fmt.FILES[fmt.IDS], "counts")
    make_canary(recommender)
    arrays, array_facts = fmt.pack_arrays(recommender.arrays())
    parts = {fmt.ARRAYS: arrays, fmt.IDS: fmt.pack_ids(item_ids.ids, feature_names, user_feature_names)}
    manifest = fmt.Manifest(
        format=fmt.FORMAT,
        recommender=recommender.name,
        parameters=dict(recommender.parameters()),
        parts={role: fmt.describe(role, data) for role, data in parts.items()},
        arrays=array_facts,
        n_items=len(item_ids),
        n_features=len(feature_names),
        n_user_features=len(user_feature_names),
        facts=dict(facts),
    )
    return {**{fmt.FILES[role]: data for role, data in parts.items()}, fmt.MANIFEST: fmt.pack_manifest(manifest)}


async def load_model(store: ArtifactStore, model: ModelVersion, recommenders: Recommenders) -> LoadedModel:
    """Fetch, verify and restore a model version.

    Raises ArtifactDamagedError or ArtifactMissingError (counted in ARTIFACT_REFUSALS) and lets
    ArtifactsUnavailableError through. Nothing is parsed before its size and checksum are found right.
    """
    try:
        return await _load(store, model, recommenders)
    except ArtifactError as error:
        ARTIFACT_REFUSALS.labels(error.problem if isinstance(error, ArtifactDamagedError) else "missing").inc()
        raise


async def _load(store: ArtifactStore, model: ModelVersion, recommenders: Recommenders) -> LoadedModel:
    if model.artifact_key is None or model.manifest_sha256 is None:
        raise ArtifactMissingError("this model version has no artifact")
    manifest = fmt.unpack_manifest(
        await store.get(f"{model.artifact_key}/{fmt.MANIFEST}", fmt.MAX_MANIFEST_BYTES), model.manifest_sha256
    )
    parts = {}
    for role, part in manifest.parts.items():
        parts[role] = await store.get(f"{model.artifact_key}/{part.file}", part.size)
    return await asyncio.to_thread(unpack, manifest, parts, recommenders, read_canary(model))


def unpack(
    manifest: fmt.Manifest, parts: Mapping[str, bytes], recommenders: Recommenders, canary: Canary | None = None
) -> LoadedModel:
    """Verify and restore: every checksum first, then the ids, the arrays, the recommender and its canary."""
    for role, part in manifest.parts.items():
        fmt.check_part(part, parts[role])
    item_ids, ids = fmt.unpack_ids(parts[fmt.IDS], manifest)
    arrays = fmt.unpack_arrays(parts[fmt.ARRAYS], manifest.arrays)
    try:
        recommender = recommenders.restore(manifest.recommender, manifest.parameters, arrays)
    except InputError as error:  # a name or parameter this code does not know
        raise ArtifactDamagedError(fmt.MANIFEST, "recommender") from error
    if recommender.n_items != len(item_ids):
        raise ArtifactDamagedError(fmt.FILES[fmt.IDS], "counts")
    check_canary(recommender, canary or make_canary(recommender))
    return LoadedModel(recommender, item_ids, ids.features, ids.user_features, manifest)

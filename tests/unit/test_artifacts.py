"""Artifacts: what is restored is what was saved, and nothing else is ever restored."""

from __future__ import annotations

import ast
import pickle
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from app.application.artifacts import artifact_format as fmt
from app.application.artifacts.canary import check_canary, check_vectors, make_canary
from app.application.artifacts.model_artifacts import load_model, pack, save_model, unpack
from app.domain.dataset import Dataset, Histories, IdMap
from app.domain.exceptions import ArtifactDamagedError, ArtifactError, ArtifactMissingError, ObjectExistsError
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import Recommender
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS
from app.telemetry import REGISTRY
from benchmarks.damage import damage, small_dataset, write_model
from tests.unit.models.data import drawn_transformer

NAMES = ["popularity", "ials", "content", "hybrid"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


def fitted(name: str, dataset: Dataset, seed: int = 0) -> Recommender:
    recommender = RECOMMENDERS.build(name, {})
    recommender.fit(dataset, seed=seed, progress=lambda stage, fraction: None)
    return recommender


def packed(recommender: Recommender, dataset: Dataset) -> dict[str, bytes]:
    return pack(recommender, dataset.items, ("genre:drama",), ("gender:f",), {"seed": 0, "window": {"end": 2.5}})


def parts_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {role: files[file] for role, file in fmt.FILES.items()}


def manifest_of(files: Mapping[str, bytes]) -> fmt.Manifest:
    return fmt.unpack_manifest(files[fmt.MANIFEST], fmt.sha256(files[fmt.MANIFEST]))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ArtifactStore]:
    store = await open_artifact_store(f"file://{tmp_path}")
    yield store
    await store.close()


class TestRoundTrip:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_restored_model_scores_like_the_saved_one(self, name: str, dataset: Dataset) -> None:
        recommender = fitted(name, dataset)
        files = packed(recommender, dataset)

        loaded = unpack(manifest_of(files), parts_of(files), RECOMMENDERS)

        np.testing.assert_array_equal(loaded.recommender.score(dataset.histories), recommender.score(dataset.histories))
        assert loaded.item_ids.ids == dataset.items.ids

    def test_a_transformer_is_kept_and_restored_without_what_it_learnt_with(self, dataset: Dataset) -> None:
        recommender = drawn_transformer(dataset.n_items)
        files = packed(recommender, dataset)

        loaded = unpack(manifest_of(files), parts_of(files), RECOMMENDERS, make_canary(recommender))

        np.testing.assert_array_equal(loaded.recommender.score(dataset.histories), recommender.score(dataset.histories))
        assert loaded.feature_names == ("genre:drama",)
        assert loaded.user_feature_names == ("gender:f",)
        assert loaded.manifest.facts == {"seed": 0, "window": {"end": 2.5}}

    @pytest.mark.parametrize("name", NAMES)
    def test_the_same_training_gives_the_same_bytes(self, name: str, dataset: Dataset) -> None:
        first = packed(fitted(name, dataset), dataset)
        second = packed(fitted(name, small_dataset()), dataset)

        # Digests: showing where megabytes differ would take longer than the suite.
        assert {file: fmt.sha256(data) for file, data in first.items()} == {
            file: fmt.sha256(data) for file, data in second.items()
        }

    def test_the_manifest_is_written_last(self, dataset: Dataset) -> None:
        assert list(packed(fitted("popularity", dataset), dataset)) == [
            "model.safetensors",
            "ids.json",
            "manifest.json",
        ]

    def test_ids_must_match_the_model(self, dataset: Dataset) -> None:
        with pytest.raises(ArtifactDamagedError, match="counts"):
            pack(fitted("popularity", dataset), IdMap(dataset.items.ids[1:]), (), (), {})

    async def test_a_version_is_written_once(self, store: ArtifactStore, dataset: Dataset) -> None:
        await save_model(store, "models/a/1", fitted("popularity", dataset), dataset.items, (), {})

        with pytest.raises(ObjectExistsError):
            await save_model(store, "models/a/1", fitted("popularity", dataset), dataset.items, (), {})

    async def test_a_version_without_artifact_is_missing(self, store: ArtifactStore) -> None:
        model = await write_model(store, "models/a/1", "popularity")

        with pytest.raises(ArtifactMissingError):
            await load_model(store, replace(model, artifact_key=None, manifest_sha256=None), RECOMMENDERS)


class TestDamage:
    async def test_every_mutation_is_refused_before_parsing_and_counted(self, tmp_path: Path) -> None:
        before = refusals()

        outcome = await damage(tmp_path, count=350, seed=1)

        assert (outcome.refused, outcome.refused_late) == (350, 0)
        assert refusals() - before == 350

    @pytest.mark.parametrize("role", list(fmt.FILES))
    async def test_a_pickle_in_any_slot_is_refused_and_not_run(
        self, store: ArtifactStore, tmp_path: Path, role: str
    ) -> None:
        model = await write_model(store, "models/ials/1", "popularity")
        canary = tmp_path / "canary"
        (tmp_path / "models/ials/1" / fmt.FILES[role]).write_bytes(pickle.dumps(Booby(str(canary))))

        with pytest.raises(ArtifactError):
            await load_model(store, model, RECOMMENDERS)
        assert not canary.exists()

    def test_no_module_can_load_code_from_a_file(self) -> None:
        forbidden = {"pickle", "joblib", "torch", "dill", "cloudpickle", "shelve", "marshal"}
        for path in Path("app").rglob("*.py"):
            # torch computes there and reads no file: the next test.
            allowed = {"torch"} if path.name == "transformer_training.py" else set()
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                assert not {name.split(".")[0] for name in [*names, module]} & (forbidden - allowed), path

    def test_the_module_that_learns_with_torch_reads_and_writes_no_file(self) -> None:
        """`torch.load` and its kin unpickle: nothing of torch may be called that touches a file."""
        tree = ast.parse(Path("app/models/transformer_training.py").read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert {name for name in imported if name.startswith("torch")} == {"torch", "torch.nn.functional"}
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and str(n.module).startswith("torch")]
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        files = {"load", "save", "hub", "jit", "package", "serialization", "export", "from_file", "load_state_dict"}
        assert not used & files


class Booby:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path(self.path),))  # type: ignore[return-value]  # any callable and arguments will do


def refusals() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "encore_artifact_refusals"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


class TestCraftedArtifacts:
    """An artifact whose checksums are right because its maker could write the database row as well."""

    @pytest.fixture
    def files(self, dataset: Dataset) -> dict[str, bytes]:
        return packed(fitted("ials", dataset), dataset)

    def with_arrays(
        self, files: Mapping[str, bytes], arrays: Mapping[str, NDArray[np.generic]]
    ) -> tuple[fmt.Manifest, dict[str, bytes]]:
        data, facts = fmt.pack_arrays(arrays)
        parts = {**parts_of(files), fmt.ARRAYS: data}
        described = {role: fmt.describe(role, part) for role, part in parts.items()}
        return msgspec.structs.replace(manifest_of(files), parts=described, arrays=facts), parts

    @pytest.mark.parametrize(
        "lie",
        [
            fmt.ArrayFacts("F32", (10**6, 10**6)),
            fmt.ArrayFacts("F32", (10**12,)),
            fmt.ArrayFacts("F32", (-1, 5)),
            fmt.ArrayFacts("F32", (1, 1, 1, 1, 1)),
            fmt.ArrayFacts("O", (1,)),
        ],
    )
    def test_impossible_declarations_are_refused_before_a_part_is_fetched(
        self, files: dict[str, bytes], lie: fmt.ArrayFacts
    ) -> None:
        manifest = manifest_of(files)
        data = fmt.pack_manifest(msgspec.structs.replace(manifest, arrays={**manifest.arrays, "bomb": lie}))

        with pytest.raises(ArtifactDamagedError, match="manifest"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    def test_ten_thousand_arrays_are_refused(self, files: dict[str, bytes]) -> None:
        lies = {f"a{number}": fmt.ArrayFacts("U8", (0,)) for number in range(10_000)}
        data = fmt.pack_manifest(msgspec.structs.replace(manifest_of(files), arrays=lies))

        with pytest.raises(ArtifactDamagedError, match="array names"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    @pytest.mark.parametrize("name", ["../../x", "", "a\nb", "x" * 201])
    def test_array_names_come_from_a_small_alphabet(self, files: dict[str, bytes], name: str) -> None:
        data = fmt.pack_manifest(msgspec.structs.replace(manifest_of(files), arrays={name: fmt.ArrayFacts("U8", (1,))}))

        with pytest.raises(ArtifactDamagedError, match="array names"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    @pytest.mark.parametrize(
        "parts",
        [
            {},
            {"arrays": fmt.Part("../../etc/passwd", 1, "")},
            {"arrays": fmt.Part("model.safetensors", 1, ""), "ids": fmt.Part("ids.json", 10**15, "")},
            {"arrays": fmt.Part("ids.json", 1, ""), "ids": fmt.Part("model.safetensors", 1, "")},
        ],
    )
    def test_only_our_own_parts_of_a_bearable_size_are_fetched(
        self, files: dict[str, bytes], parts: dict[str, fmt.Part]
    ) -> None:
        data = fmt.pack_manifest(msgspec.structs.replace(manifest_of(files), parts=parts))

        with pytest.raises(ArtifactDamagedError, match="manifest"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    @pytest.mark.parametrize("data", [b"", b"null", b"{}", b"\xff", b"[" * 100_000, b"<html>Not found</html>"])
    def test_a_manifest_that_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(ArtifactDamagedError, match="shape"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    def test_a_manifest_of_another_format_is_refused(self, files: dict[str, bytes]) -> None:
        data = fmt.pack_manifest(msgspec.structs.replace(manifest_of(files), format=2))

        with pytest.raises(ArtifactDamagedError, match="format"):
            fmt.unpack_manifest(data, fmt.sha256(data))

    def test_arrays_other_than_declared_are_refused(self, files: dict[str, bytes]) -> None:
        manifest, parts = self.with_arrays(files, {"other": np.ones(3, dtype=np.float32)})
        manifest = msgspec.structs.replace(manifest, arrays={"wanted": fmt.ArrayFacts("F32", (3,))})

        with pytest.raises(ArtifactDamagedError, match="arrays"):
            unpack(manifest, parts, RECOMMENDERS)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_numbers_that_are_not_finite_are_refused(self, files: dict[str, bytes], value: float) -> None:
        arrays = {
            name: array.copy()
            for name, array in fmt.unpack_arrays(parts_of(files)[fmt.ARRAYS], manifest_of(files).arrays).items()
        }
        next(array for array in arrays.values() if array.dtype == np.float32).flat[0] = value
        manifest, parts = self.with_arrays(files, arrays)

        with pytest.raises(ArtifactDamagedError, match="not finite"):
            unpack(manifest, parts, RECOMMENDERS)

    def test_a_model_that_scores_unlike_the_written_one_is_refused(
        self, files: dict[str, bytes], dataset: Dataset
    ) -> None:
        other = fitted("ials", small_dataset(seed=8))
        if other.n_items != dataset.n_items:
            pytest.fail("the two data sets must have the same number of items for this test to mean anything")
        manifest, parts = self.with_arrays(files, other.arrays())

        with pytest.raises(ArtifactDamagedError, match="canary: scores"):
            unpack(manifest, parts, RECOMMENDERS, make_canary(fitted("ials", dataset)))

    def test_an_id_that_comes_twice_is_refused(self, files: dict[str, bytes], dataset: Dataset) -> None:
        ids = [dataset.items.ids[0], *dataset.items.ids[1:-1], dataset.items.ids[0]]
        data = fmt.pack_ids(ids, ("genre:drama",), ("gender:f",))

        with pytest.raises(ArtifactDamagedError, match="shape"):
            fmt.unpack_ids(data, manifest_of(files))

    def test_an_id_list_of_another_length_is_refused(self, files: dict[str, bytes], dataset: Dataset) -> None:
        with pytest.raises(ArtifactDamagedError, match="counts"):
            fmt.unpack_ids(fmt.pack_ids(dataset.items.ids[1:], ("genre:drama",), ("gender:f",)), manifest_of(files))

    def test_an_unknown_recommender_is_refused(self, files: dict[str, bytes]) -> None:
        manifest = msgspec.structs.replace(manifest_of(files), recommender="os.system")

        with pytest.raises(ArtifactDamagedError):
            unpack(manifest, parts_of(files), RECOMMENDERS)

    def test_text_and_object_arrays_cannot_be_packed(self) -> None:
        for array in (np.array(["a"]), np.array([object()])):
            with pytest.raises(ArtifactDamagedError, match="dtype"):
                fmt.pack_arrays({"x": array})


class TestCanary:
    def test_vectors_that_are_zero_or_all_the_same_are_refused(self, dataset: Dataset) -> None:
        recommender = fitted("ials", dataset)
        arrays = recommender.arrays()
        name = next(key for key, array in arrays.items() if array.ndim == 2 and array.shape[0] == dataset.n_items)
        for vectors, problem in ((np.zeros_like(arrays[name]), r"zero|same"), (np.ones_like(arrays[name]), "same")):
            broken = RECOMMENDERS.restore("ials", recommender.parameters(), {**arrays, name: vectors})
            with pytest.raises(ArtifactDamagedError, match=problem):
                check_vectors(broken)
            with pytest.raises(ArtifactDamagedError):
                make_canary(broken)

    async def test_the_canary_in_the_row_is_compared(self, store: ArtifactStore, dataset: Dataset) -> None:
        model = await write_model(store, "models/a/1", "popularity")
        canary = msgspec.to_builtins(make_canary(fitted("popularity", dataset)))
        await load_model(store, replace(model, lineage={"canary": canary}), RECOMMENDERS)

        lies: tuple[object, ...] = ({**canary, "scores": [[9.0] * 32] * 8}, {"scores": []}, "none")
        for lie in lies:
            with pytest.raises(ArtifactDamagedError, match="canary"):
                await load_model(store, replace(model, lineage={"canary": lie}), RECOMMENDERS)

    def test_a_canary_outside_the_catalog_is_refused(self, dataset: Dataset) -> None:
        recommender = fitted("popularity", dataset)
        canary = make_canary(recommender)

        for items in ((), (10**9,), (-1,)):
            with pytest.raises(ArtifactDamagedError, match=r"positions|scores"):
                check_canary(recommender, msgspec.structs.replace(canary, items=items, histories=()))

    def test_a_catalog_of_one_item_has_a_canary_too(self) -> None:
        histories = Histories.single([0], [1.0], [0.0], 1.0)
        recommender = fitted("popularity", Dataset(IdMap(["u"]), IdMap(["i"]), histories))

        check_canary(recommender, make_canary(recommender))

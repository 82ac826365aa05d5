"""`encore evaluate` on files, as somebody with their own data would call it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import load_command
from app.commands.evaluate import register
from app.commands.evaluation_files import read_negatives
from app.commands.evaluation_report import page, write_report
from app.commands.quality.data import Pairs
from app.commands.quality.live import histories_of
from app.commands.quality.table import BENCHMARKS
from app.domain.exceptions import InputError
from tests.unit.models.data import dataset

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty users of two tastes; the last two likes of each are the test."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    train, test, negatives = ["user_id,item_id,timestamp"], ["user_id,item_id"], []
    for user in range(40):
        liked = rng.permutation(np.arange(user % 2, 40, 2))[:12]
        train += [f"u{user},i{item},{1_600_000_000 + 60 * rank}" for rank, item in enumerate(liked[:-2])]
        test += [f"u{user},i{item}" for item in liked[-2:]]
        others = "\t".join(f"i{item}" for item in range(1 - user % 2, 40, 2))
        negatives.append(f"u{user}\ti{liked[-1]}\t{others}")
    items = ["item_id,title,genres", *(f"i{n},Title {n},{'even' if n % 2 == 0 else 'odd'}" for n in range(40))]
    for name, lines in {"train.csv": train, "test.csv": test, "items.csv": items, "negatives.tsv": negatives}.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def call(*arguments: str) -> tuple[int, str, str]:
    import typer

    app = typer.Typer()
    register(app)
    done = runner.invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def files(folder: Path) -> list[str]:
    return ["--train", str(folder / "train.csv"), "--test", str(folder / "test.csv")]


def test_the_pipeline_is_fitted_and_measured_beside_popularity(folder: Path) -> None:
    code, out, _ = call(
        *files(folder),
        *("--items", str(folder / "items.csv"), "--negatives", str(folder / "negatives.tsv")),
        *("--metrics", "recall@10,ndcg@10", "--seeds", "2", "--json"),
        *("--report", str(folder / "report.html")),
    )
    assert code == 0
    result = json.loads(out)
    figures = {name: one["metrics"]["ndcg@10"] for name, one in result["recommenders"].items()}
    assert set(figures) == {"hybrid", "popularity"}
    assert figures["hybrid"]["mean"] > figures["popularity"]["mean"]
    assert len(figures["hybrid"]["seeds"]) == 2
    assert set(result["recommenders"]["hybrid"]["metrics"]) == {"recall@10", "ndcg@10"}
    assert result["among_negatives"]["hybrid"]["ndcg@10"] > 0.8
    assert result["data"]["train_users"] == 40
    assert result["recipe"]["name"] == "hybrid"
    light = result["recommenders"]["hybrid"]["slices"]["light users"]
    figure = light["metrics"]["ndcg@10"]
    assert light["users"] == 40
    assert figure["low"] <= figure["mean"] <= figure["high"]
    assert figure["low"] < figure["high"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    row = ("hybrid", "light users", "40", "ndcg@10", *(f"{figure[key]:.4f}" for key in ("mean", "low", "high")))
    assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" in text
    assert "<svg" in text
    assert "http" not in text


def test_pairs_that_are_in_train_already_are_told_and_may_count_as_misses(folder: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    train = (folder / "train.csv").read_text(encoding="utf-8").splitlines()
    repeated = [line.rpartition(",")[0] for line in train[1:4]]
    test.write_text("\n".join([(folder / "test.csv").read_text(encoding="utf-8").strip(), *repeated]), encoding="utf-8")
    asked = ("--train", str(folder / "train.csv"), "--test", str(test), "--type", "popularity", "--json")
    found = {seen: json.loads(call(*asked, "--seen", seen)[1]) for seen in ("drop", "count-as-miss")}
    for facts in (one["data"] for one in found.values()):
        assert facts["test_pairs_seen_in_train"] == 3
        assert facts["test_pairs_of_unknown_items"] == 0
    assert found["drop"]["data"]["test_pairs"] == 80
    assert found["count-as-miss"]["data"]["test_pairs"] == 83
    recalls = [one["recommenders"]["popularity"]["metrics"]["recall@20"]["mean"] for one in found.values()]
    assert recalls[1] < recalls[0]
    assert call(*asked, "--seen", "perhaps")[0] != 0


@pytest.mark.parametrize(("threads", "told"), [("1", "the same figures"), ("2", "OMP_NUM_THREADS=1 repeats")])
def test_whether_a_seed_repeats_its_figures_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, threads: str, told: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    code, out, _ = call(*files(folder), "--type", "popularity", "--json")
    assert code == 0
    assert told in json.loads(out)["threads"]


def test_people_get_a_table(folder: Path) -> None:
    code, out, _ = call(*files(folder), "--type", "popular", "--metrics", "hr@5")
    assert code == 0
    assert "popularity" in out
    assert "hr@5" in out


def test_fold_in_is_judged_against_a_refit(folder: Path) -> None:
    code, out, _ = call(
        *files(folder), "--items", str(folder / "items.csv"), "--type", "collaborative", "--fold-in", "--json"
    )
    assert code == 0
    found = json.loads(out)["fold_in"]
    assert found["users_folded_in"] <= found["users_refit"] + 0.5
    assert found["items_refit"] is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--train", "nowhere.csv"], "belong together"),
        (["--train", "nowhere.csv", "--test", "nowhere.csv"], "No such file"),
        (["--train", "a.xls", "--test", "a.xls"], "file name must end"),
        (["--benchmark", "Q99"], "the benchmarks are"),
        (["--train", "a.csv", "--test", "b.csv", "--metrics", "accuracy@10"], "a metric is one of"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], told: str) -> None:
    code, out, error = call(*arguments)
    assert code == 1
    assert out == ""
    assert told in error


def test_the_command_line_knows_the_command() -> None:
    assert load_command("evaluate").name == "evaluate"


def test_negatives_of_unknown_users_are_left_out_and_unknown_items_are_minus_one(tmp_path: Path) -> None:
    data = dataset([[(0, 1.0)], [(1, 1.0)]], 3)
    file = tmp_path / "negatives.tsv"
    file.write_text("u1\ti2\ti0\tzz\nu9\ti0\ti1\nu0\ti1\n", encoding="utf-8")
    users, candidates = read_negatives(file, data)
    assert users.tolist() == [1]
    assert candidates.tolist() == [[2, 0, -1]]
    file.write_text("u9\ti0\ti1\n", encoding="utf-8")
    with pytest.raises(InputError):
        read_negatives(file, data)


def test_a_page_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6}
    result: Mapping[str, object] = {"recommenders": {"<script>": {"metrics": {"<b>": figure}}}, "recipe": {"<i>": 1}}
    text = page(result)
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    with pytest.raises(InputError):
        write_report(tmp_path / "report.pdf", result)


def test_every_row_of_the_quality_table_has_bars_that_its_protocol_gives() -> None:
    assert list(BENCHMARKS) == ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7"]
    for row in BENCHMARKS.values():
        assert set(row.moonshot) <= set(row.must) | {"ndcg@20 k=1", "ndcg@20 k=5"}


def test_benchmark_histories_are_newest_first_and_pass_over_unknown_items() -> None:
    shown = histories_of([np.array([4, -1, 2]), np.array([], dtype=np.int64)], 0.0, 1_000.0)
    assert shown.items.tolist() == [2, 4]
    assert shown.times.tolist() == [60.0, 0.0]
    assert shown.lengths.tolist() == [2, 0]


def test_pairs_in_order_are_a_minute_apart() -> None:
    user, item = np.array([0, 0, 1]), np.array([1, 0, 1])
    events = Pairs(user, item, 2, 2, np.array([0, 1, 0])).events()
    assert np.diff(events.occurred_at[:2]).tolist() == [60.0]
    assert Pairs(user, item, 2, 2).events().occurred_at.tolist() == [0.0, 0.0, 0.0]

"""Every mutant of `make mutants` still changes one place of the code, and names a test that there is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.mutants.__main__ import MUTANTS, ROOT
from benchmarks.mutants.patches import Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_changes_one_place_and_names_a_test(mutant: Mutant) -> None:
    for patch in mutant.patches:
        assert (ROOT / patch.path).read_text().count(patch.old) == 1, patch.path
    path, _, name = mutant.test.partition("::")
    function = name.partition("[")[0].rpartition("::")[2]
    assert function in names_in(ROOT / path)


def test_no_two_mutants_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

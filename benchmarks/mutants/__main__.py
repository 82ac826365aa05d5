"""`make mutants`: the code broken on purpose, one way after the other; each must be caught by the named test.

A test that never fails proves nothing. Every mutant is a patch of a copied tree; a patch that no longer applies is an
error too, so that this list follows the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mutants import decisions, events, lists, service
from benchmarks.mutants.patches import Mutant, Patch

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("app", "tests", "benchmarks", "pyproject.toml")
TIMEOUT_SECONDS = 180.0
MUTANTS = (*events.MUTANTS, *service.MUTANTS, *lists.MUTANTS, *decisions.MUTANTS)


def main() -> int:
    """Exit 0 if the tests pass on the code as it is, and each mutant makes its test fail."""
    with tempfile.TemporaryDirectory(prefix="encore-mutants-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        if run_tests(tree, sorted({mutant.test for mutant in MUTANTS})) != 0:
            print("the tests fail without any mutant: nothing can be shown")
            return 1
        survivors = [mutant for mutant in MUTANTS if not is_caught(mutant, tree)]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants caught")
    return 1 if survivors else 0


def is_caught(mutant: Mutant, tree: Path) -> bool:
    """Apply the patches, run the test, take the patches back."""
    originals = {patch.path: (tree / patch.path).read_text() for patch in mutant.patches}
    try:
        for patch in mutant.patches:
            apply(patch, tree / patch.path)
        is_red = run_tests(tree, [mutant.test]) == 1
    finally:
        for path, text in originals.items():
            (tree / path).write_text(text)
    name = mutant.test.partition("::")[2]
    print(f"{'caught  ' if is_red else 'SURVIVED'}  {mutant.promise:4} {mutant.name}  [{name}]", flush=True)
    return is_red


def apply(patch: Patch, path: Path) -> None:
    """Raises ValueError when the code has moved on."""
    text = path.read_text()
    if text.count(patch.old) != 1:
        raise ValueError(f"{patch.path}: the patch matches {text.count(patch.old)} places, not one:\n{patch.old}")
    path.write_text(text.replace(patch.old, patch.new))


def copy_tree(tree: Path) -> None:
    """The code and its tests, without what they left behind."""
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)


def run_tests(tree: Path, tests: Sequence[str]) -> int:
    """pytest's exit code: 0 all passed, 1 some failed. A test that hangs has failed."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

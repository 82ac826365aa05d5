"""The solver without its package computes what the package computes, and loads nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
import scipy.sparse as sp
from app.models.irspack_core import AlsSolver

def train():
    matrix = sp.random(60, 40, 0.1, format="csr", dtype=np.float32, random_state=1)
    trainer = AlsSolver(matrix, factors=8, alpha=0.1, regularization=0.003, nu=1.0, seed=3, threads=1)
    for _ in range(3):
        trainer.run_epoch()
    return matrix, np.array(trainer.item_factors)
"""

LOADS_NOTHING = (
    CODE
    + """
train()
print(sorted({"pandas", "optuna", "sklearn"} & set(sys.modules)))
"""
)

EQUALS = (
    CODE
    + """
from irspack.recommenders.ials import IALSTrainer, str_to_loss_type, str_to_solver_type

matrix, ours = train()
theirs = IALSTrainer(
    X=matrix, n_components=8, alpha0=0.1, reg=0.003, nu=1.0, init_std=0.1, solver_type=str_to_solver_type("CG"),
    max_cg_steps=3, ialspp_subspace_dimension=64, loss_type=str_to_loss_type("IALSPP"), random_seed=3, n_threads=1,
    prediction_time_max_cg_steps=5, prediction_time_ialspp_iteration=7,
)
for _ in range(3):
    theirs.run_epoch()
print(np.array_equal(ours, theirs.core_trainer.item))
"""
)


@pytest.mark.parametrize(("code", "printed"), [(LOADS_NOTHING, "[]"), (EQUALS, "True")])
def test_the_solver_alone(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == printed, done.stderr[-1_000:]

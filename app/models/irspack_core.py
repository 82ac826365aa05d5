"""irspack's compiled solver without the rest of irspack.

`import irspack` also loads pandas, optuna and scikit-learn: five seconds of processor time at the start of every
training and of `encore demo`, for nothing that we use. The extension module alone loads in milliseconds.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

NAME = "irspack.recommenders._ials_core"


@cache
def load_core() -> Any:
    """The extension module. Raises ImportError where irspack is not installed or is laid out in another way."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    package = find_spec("irspack")
    if package is None or not package.submodule_search_locations:
        raise ImportError("irspack is not installed", name="irspack")
    folder = Path(package.submodule_search_locations[0], "recommenders")
    spec = PathFinder.find_spec(NAME.rpartition(".")[2], [str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"irspack has no {NAME}", name=NAME)
    module = module_from_spec(spec)
    # Under its own name, so that a later `import irspack` finds it: its types can be registered only once.
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


class AlsSolver:
    """Alternating least squares with conjugate gradients on a positive (n_users, n_items) float32 matrix."""

    def __init__(
        self,
        matrix: Any,
        *,
        factors: int,
        alpha: float,
        regularization: float,
        nu: float,
        seed: int,
        threads: int,
        max_cg_steps: int = 3,
        init_stdev: float = 0.1,
    ) -> None:
        core = load_core()
        config = (
            core.IALSModelConfigBuilder()
            .set_K(factors)
            .set_init_stdev(init_stdev)
            .set_alpha0(alpha)
            .set_reg(regularization)
            .set_nu(nu)
            .set_loss_type(core.LossType.IALSPP)
            .set_random_seed(seed)
            .build()
        )
        self._solver = (
            core.IALSSolverConfigBuilder()
            .set_n_threads(threads)
            .set_solver_type(core.SolverType.CG)
            .set_max_cg_steps(max_cg_steps)
            .build()
        )
        self._trainer = core.IALSTrainer(config, matrix)

    def run_epoch(self) -> None:
        """One pass over users and items."""
        self._trainer.step(self._solver)

    @property
    def item_factors(self) -> Any:
        """(n_items, factors) float32."""
        return self._trainer.item

"""M8: a process that has searched starts others, and none of them hangs."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import numpy as np
import pytest

from app.infrastructure.jobs import LocalJobQueue
from app.infrastructure.vector_store.faiss_index import FaissIndex

ROUNDS = 100
FORKS = f"""
import os, signal
import numpy as np
from app.infrastructure.vector_store.faiss_index import FaissIndex

vectors = np.random.default_rng(0).standard_normal((2_000, 32), dtype=np.float32)
index = FaissIndex.build("flat", vectors)
expected = index.search(vectors[:4], 10)[0]
for _ in range({ROUNDS}):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs dies of this
        is_same = (index.search(vectors[:4], 10)[0] == expected).all()
        vectors @ vectors[:64].T  # the threads of the linear algebra, too
        os._exit(0 if is_same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (index.search(vectors[:4], 10)[0] == expected).all()
print("done")
"""


@pytest.mark.slow
def test_a_fork_of_a_process_that_has_searched_searches_too() -> None:
    """Ours are spawned; a server that preloads and forks must not hang either."""
    run = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 0, run.stderr
    assert run.stdout == "done\n"


@pytest.mark.slow
async def test_processes_spawned_between_searches_end_and_the_searches_stay_right() -> None:
    vectors = np.random.default_rng(0).standard_normal((2_000, 32), dtype=np.float32)
    index = FaissIndex.build("flat", vectors)
    expected, _ = index.search(vectors[:4], 10)
    jobs = LocalJobQueue("this")  # a module that ends by itself

    async with asyncio.timeout(120):
        for number in range(ROUNDS // 10):
            await jobs.submit(f"job-{number}")
            found, _ = await asyncio.to_thread(index.search, vectors[:4], 10)
            np.testing.assert_array_equal(found, expected)
        assert jobs._runner is not None
        await jobs._runner

    assert await jobs.depth() == 0
    await jobs.close()

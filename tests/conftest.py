"""Fixtures for every test."""

import os

# Trainings run on one thread unless told otherwise (app/domain/threads.py): only then are they repeatable bit for bit.
# Set before NumPy is loaded; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.servers.plugin"]

"""Fixtures for every test."""

import io
import logging
import os
from collections.abc import Iterator

# Trainings run on one thread unless told otherwise (app/domain/threads.py): only then are they repeatable bit for bit.
# Set before NumPy is loaded; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import structlog

from app.log_format import configure_logging

pytest_plugins = ["pytester", "tests.servers.plugin", "tests.leak_guard"]


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    """Every log line as a process writes it; afterwards logging is as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream)
    yield stream
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()

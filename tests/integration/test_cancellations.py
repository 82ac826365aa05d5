"""Every client, cancelled at random moments from its first connection to the end of its closing, leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cancellations import measure
from benchmarks.clients import USES, server_of

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

COUNT = 25
"""The command does 300 (`python -m benchmarks.cancellations`); of these, five to fifteen left something before."""


@pytest.mark.parametrize(("kind", "server"), [(kind, server_of(kind)) for kind in USES], ids=list(USES))
def test_a_client_cancelled_at_any_moment_leaves_nothing_open(
    kind: str, server: str | None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = "" if server is None else request.getfixturevalue(f"{server}_url")

    left = measure(kind, COUNT, 5, url, tmp_path)

    assert left.is_nothing, left
    assert left.cancelled > 0

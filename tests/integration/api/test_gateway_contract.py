"""What the API gateway expects of `GET /api/v1/recs/{userId}`, by Pact: written as its own test would, and verified.

The consumer's side runs against Pact's mock server and writes the contract; the provider's side asks a real server,
over a socket, whether it keeps it. Red when a field the gateway reads is renamed, removed or changes its type.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from app.main import create_app
from tests.integration.api.running_service import settings_of, token

os.environ.setdefault("PACT_DO_NOT_TRACK", "true")
pact = importlib.import_module("pact")  # it reads the variable when it is imported

USER = "crime-fan-1"
BEARER = r"^Bearer [\w-]+\.[\w-]+\.[\w-]+$"


def gateway_reads(answer: dict[str, Any]) -> list[str]:
    """What the gateway hands to its clients: it fails where a field is missing."""
    assert answer["user_id"]
    assert {"id", "type", "version"} <= set(answer["model"])
    return [f"{entry['rank']}:{entry['item_id']}:{entry['score']:.3f}" for entry in answer["recommendations"]]


def write_contract(folder: Path, item_id_field: str = "item_id") -> Path:
    """The contract of the gateway, from an exchange with Pact's mock server. The field's name is given to rename it."""
    match = pact.match
    gateway = pact.Pact("api-gateway", "encore").with_specification("V4")
    body = {
        "user_id": USER,
        "model": {"id": match.str("a1"), "type": match.str("hybrid"), "version": match.int(3)},
        "recommendations": match.each_like(
            {item_id_field: match.str("crime-07"), "score": match.decimal(1.5), "rank": match.int(1)}, min=1
        ),
        "pagination": {"limit": match.int(5), "has_more": match.bool(True)},
        "is_fallback": match.bool(False),
    }
    (
        gateway.upon_receiving("a request for a user's list")
        .given("a user with a history", user=USER)
        .with_request("GET", f"/api/v1/recs/{USER}")
        .with_query_parameter("limit", "5")
        .with_header("Authorization", match.regex("Bearer a.b.c", regex=BEARER))
        .will_respond_with(200)
        .with_body(body, content_type="application/json")
    )
    with gateway.serve() as mock:
        asked = urllib.request.Request(
            f"{mock.url}/api/v1/recs/{USER}?limit=5", headers={"Authorization": "Bearer a.b.c"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            read = json.load(answer)
        if item_id_field == "item_id":
            assert gateway_reads(read) == ["1:crime-07:1.500"]
    gateway.write_file(folder, overwrite=True)
    return folder


@contextmanager
def provider(built: Path) -> Iterator[str]:
    """The address of a real server over the folder's data."""
    app = create_app(settings_of(built))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def verify(contract: Path, address: str) -> None:
    """Raises RuntimeError, with Pact's report, where the contract is broken."""
    verifier = pact.Verifier("encore", host="127.0.0.1").add_transport(url=address).add_source(contract)
    verifier.add_custom_header("Authorization", f"Bearer {token(USER, 'recs:read')}")
    verifier.verify()


def test_the_provider_keeps_the_contract_of_the_gateway_and_a_renamed_field_breaks_it(
    built: Path, tmp_path: Path
) -> None:
    kept, renamed = tmp_path / "kept", tmp_path / "renamed"
    kept.mkdir()
    renamed.mkdir()
    with provider(built) as address:
        verify(write_contract(kept), address)
        with pytest.raises(RuntimeError):
            verify(write_contract(renamed, item_id_field="itemId"), address)

"""The examples of erasures; those of all other operations are in `examples`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STORES: Mapping[str, Any] = {
    "users": {"found": 1, "removed": 1, "found_again": 0},
    "interactions": {"found": 42, "removed": 42, "found_again": 0},
}
_ERASURE: Mapping[str, Any] = {
    "erasure_id": "2c1d9a7e6b5f4c3d8e9f0a1b2c3d4e5f",
    "status": "running",
    "requested_at": "2026-11-21T08:30:01Z",
    "finished_at": None,
    "people": 1,
    "people_sha256": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
    "stores": _STORES,
    "certificate": None,
    "certificate_sha256": None,
}
_CERTIFICATE: Mapping[str, Any] = {
    "erasure_id": "2c1d9a7e6b5f4c3d8e9f0a1b2c3d4e5f",
    "requested_at": "2026-11-21T08:30:01+00:00",
    "finished_at": "2026-11-21T08:30:02+00:00",
    "people": 1,
    "people_sha256": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
    "stores": _STORES,
    "is_clean": True,
}
ERASURE_ANSWERS: Mapping[str, Any] = {
    "deleteUser": _ERASURE,
    "getErasure": {
        **_ERASURE,
        "status": "done",
        "finished_at": "2026-11-21T08:30:02Z",
        "certificate": _CERTIFICATE,
        "certificate_sha256": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    },
}

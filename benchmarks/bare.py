"""The yardstick: a FastAPI route that answers fixed bytes of the size of a list, started as `encore serve` is.

python -m benchmarks.bare PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Response

BODY = b'{"recommendations": "' + b"x" * 2_000 + b'"}'

app = FastAPI()


@app.get("/api/v1/recs/{user_id}")
async def fixed(user_id: str, limit: int = 10) -> Response:
    """The same bytes for everybody."""
    return Response(BODY, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)

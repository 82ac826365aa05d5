"""The yardsticks: a FastAPI route that answers fixed bytes of the size of a list, started as `encore serve` is; and,
with `raw`, a socket that answers them whatever it is sent, which shows what the load generator itself can do.

python -m benchmarks.bare PORT [raw]
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI, Response

BODY = b'{"recommendations": "' + b"x" * 2_000 + b'"}'

app = FastAPI()


@app.get("/api/v1/recs/{user_id}")
async def fixed(user_id: str, limit: int = 10) -> Response:
    """The same bytes for everybody."""
    return Response(BODY, media_type="application/json")


class RawProtocol(asyncio.Protocol):
    """One answer for each piece of data: a request of the load comes in one."""

    ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.ANSWER)


async def serve_raw(port: int) -> None:
    """Answer until the process is ended."""
    server = await asyncio.get_running_loop().create_server(RawProtocol, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[2:] == ["raw"]:
        uvloop.run(serve_raw(int(sys.argv[1])))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)

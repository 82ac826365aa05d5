"""Signed positions in a list: opaque, valid for one list and one caller, impossible to make up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from app.domain.exceptions import CursorError

_MAC_BYTES = 12
"""96 bits: a forger gets one guess a request, and requests are limited."""


class Cursors:
    """Seals a position for a `binding` (whatever must be the same when it comes back) and opens it again."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.sha256(b"encore cursors\0" + secret).digest()

    def seal(self, binding: str, position: str) -> str:
        """The text to hand out."""
        return self.seal_bytes(binding, position.encode())

    def open(self, binding: str, cursor: str) -> str:
        """The position. Raises CursorError for anything that `seal` did not make for this binding."""
        try:
            return self.open_bytes(binding, cursor).decode()
        except UnicodeDecodeError:
            raise CursorError from None

    def seal_bytes(self, binding: str, raw: bytes) -> str:
        """As `seal`, for a position that is not text."""
        return base64.urlsafe_b64encode(self._mac(binding, raw) + raw).rstrip(b"=").decode("ascii")

    def open_bytes(self, binding: str, cursor: str) -> bytes:
        """As `open`, for a position that is not text."""
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (binascii.Error, UnicodeEncodeError):
            raise CursorError from None
        mac, raw = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(binding, raw)):
            raise CursorError
        return raw

    def _mac(self, binding: str, raw: bytes) -> bytes:
        return hmac.digest(self._key, binding.encode() + b"\0" + raw, "sha256")[:_MAC_BYTES]

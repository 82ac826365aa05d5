"""Names that tell one person or place from another and not who it is: keyed hashes, the same for the same key."""

from __future__ import annotations

from hashlib import blake2b

from app.domain.request_log import user_pseudonym


def address_pseudonym(secret: bytes, address: str) -> str:
    """32 hexadecimal digits for a network address."""
    key = blake2b(secret, digest_size=32, person=b"encore-address").digest()
    return blake2b(address.encode(), key=key, digest_size=16).hexdigest()


def subject_pseudonym(secret: bytes, user_id: str) -> str:
    """32 hexadecimal digits for a user: what the request log has of that user."""
    return user_pseudonym(secret, user_id).hex()

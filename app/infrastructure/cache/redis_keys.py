"""The names of what Redis holds for a user: in a cluster all of them in the slot of the user."""

from __future__ import annotations

import re
from dataclasses import dataclass

_USER = "user:"
"""How a limit of a user begins, as callers and `RedisCache` name it."""

_HISTORY = re.compile(r"^[0-9a-f]{12}:")
_SLOT = re.compile(r"\{(\d+):")


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """`history` says whose data it is (`RedisClient.history`); limits are counted whatever happens to the lists.

    In a cluster the part in braces decides about the slot (https://valkey.io/topics/cluster-spec/#hash-tags), so that
    one script may touch all keys of a user. It begins with a digit: a user called `}` has a slot as well. Without a
    cluster keys have no braces, as before there were clusters: processes of both versions share them while rolled out.
    """

    prefix: str
    is_clustered: bool = False

    def generation(self, history: str, user_id: str) -> str:
        return f"{self.prefix}{history}{self._tag(user_id)}g:{user_id}"

    def list(self, history: str, user_id: str, variant: str) -> str:
        # The length keeps (`a:b`, ``) and (`a`, `b:`) apart.
        return f"{self.prefix}{history}{self._tag(user_id)}l:{len(user_id)}:{user_id}:{variant}"

    def turn(self, history: str, user_id: str, variant: str) -> str:
        return f"{self.prefix}{history}{self._tag(user_id)}t:{len(user_id)}:{user_id}:{variant}"

    def limit(self, limit_key: str) -> str:
        return f"{self.prefix}{self._tag(limit_key.removeprefix(_USER))}w:{limit_key}"

    def user_of(self, key: bytes) -> str | None:
        """Whose key this is; None if it is nobody's, or not ours."""
        text = key.decode("utf-8", "surrogateescape")
        if not text.startswith(self.prefix):
            return None
        text = _HISTORY.sub("", text[len(self.prefix) :], count=1)
        slot = _SLOT.match(text)
        if slot is not None:
            text = text[slot.end() + int(slot[1]) + 1 :]
        kind, rest = text[:2], text[2:]
        if kind == "g:":
            return rest
        if kind == "w:":
            return rest[len(_USER) :] if rest.startswith(_USER) else None
        length, _colon, named = rest.partition(":")
        return named[: int(length)] if kind in ("l:", "t:") and length.isdecimal() else None

    def share_a_slot(self, user_id: str, limit_key: str) -> bool:
        """True if one script may touch the lists of this user and this limit."""
        return not self.is_clustered or limit_key == _USER + user_id

    def _tag(self, name: str) -> str:
        return f"{{{len(name)}:{name}}}" if self.is_clustered else ""

"""Which text may name a user or an item: one rule for paths, bodies, events and token subjects.

Printable ASCII without separators: nothing that a path, a log line or a header could read as structure, nothing that
looks like another id (no Unicode look-alikes), never a dot segment. UUIDs, numbers, `auth0|abc` and e-mail forms fit.
"""

from __future__ import annotations

import re

ID_PATTERN = r"^[A-Za-z0-9_:@|~+=-][A-Za-z0-9_.:@|~+=-]{0,127}$"
"""In the common subset of Python's and ECMA-262's syntax, as OpenAPI wants it."""

MAX_ID_LENGTH = 128

_ID = re.compile(ID_PATTERN.rstrip("$"), re.ASCII)


def is_id(text: str) -> bool:
    """True if the text may name a user or an item."""
    return _ID.fullmatch(text) is not None

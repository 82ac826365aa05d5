"""Names made of parts: cache keys, set members, labels, seeds. Two lists of parts never have the same name.

Text that is glued together lets one part pass for another (`popular("None")` for `popular(None)`), and then somebody
is given what belongs to somebody else.
"""

from __future__ import annotations

KeyPart = str | int | float | bytes | None | tuple["KeyPart", ...]


def key_text(*parts: KeyPart) -> str:
    """One text for these parts, in this order.

    Python's own notation of a tuple: texts are quoted and what could end them early is escaped, `None`, numbers and
    bytes look like no text, and nested tuples keep their brackets.
    """
    return repr(parts)

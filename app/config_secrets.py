"""Which secrets protect nothing: short, example, repeated, typed along the keyboard, counted up, made of words.

An estimate from below, as in zxcvbn (Wheeler, USENIX Security 2016): what can be described shortly counts little. 32
random bytes in hexadecimal, base64 or letters pass by far.
"""

from __future__ import annotations

import math
import re
from collections import Counter

MIN_SECRET_BYTES = 32
"""RFC 7518 §3.2: a key for HS256 has at least as many bits as the hash."""

MIN_BITS = 60.0
"""Half of 32 random hexadecimal digits after what chance repeats in them; far above any pattern."""

EXAMPLES = (
    *("changeme", "change-me", "change_me", "example", "secret", "password", "your-", "insecure", "test"),
    *("quickbrown", "loremipsum", "correcthorse"),
)
_ROWS = (
    *("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "qsdfghjklm", "wxcvbn"),
    *("1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik,", "9ol.", "0p;/", "1aq", "2zs", "6zhn"),
)
_SHIFTED = str.maketrans("!@#$%^&*()", "1234567890")
_LEET = str.maketrans("013457@$", "oieastas")
_LOOKED_AT = 512
"""Characters that are judged; what is longer has had its chance."""

_REPEAT = 3
"""From this length on a part that came before costs as much as one character."""

_LETTERS = "thheineranreonatenndtiesorteofedisitalarsttontngsehaasouiolevecomedehiriroicneearacelichllbemasiomur"
_PAIRS = frozenset(_LETTERS[at : at + 2] for at in range(0, len(_LETTERS), 2))
"""The 50 commonest letter pairs of English: 55–60 % of English text, 7 % of random letters (Norvig, 2012)."""

_MAX_PAIRS = 1 / 3
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")


def weakness(secret: str, *, is_example_allowed: bool = False) -> str | None:
    """Why this secret protects nothing, without quoting it; None if it may be random."""
    if secret != secret.strip():
        return "begins or ends with white space, which other programs cut off"
    if len(secret.encode()) < MIN_SECRET_BYTES:
        return f"is shorter than {MIN_SECRET_BYTES} bytes"
    if is_example_allowed:
        return None
    is_example = any(word in secret.lower() for word in EXAMPLES)
    if is_example or bits(secret) < MIN_BITS or _reads_like_words(secret):
        return "is an example or easy to guess; use random bytes (`openssl rand -base64 48`)"
    return None


def bits(secret: str) -> float:
    """An estimate from below of the information in a secret; of two rows typed in turns, that of each row."""
    text = secret[:_LOOKED_AT]
    return min(_bits(text), _bits(text[::2]) + _bits(text[1::2]))


def _bits(secret: str) -> float:
    kept = _described(secret.lower().translate(_SHIFTED))
    counts = Counter(kept)
    return -sum(count * math.log2(count / len(kept)) for count in counts.values()) if kept else 0.0


def _described(text: str) -> str:
    """What is left when each run along a row or the alphabet, and each repetition, costs one character."""
    kept, at = [], 0
    while at < len(text):
        kept.append(text[at])
        at += max(_run(text, at), _repeated(text, at), 1)
    return "".join(kept)


def _run(text: str, at: int) -> int:
    """How many characters from `at` follow one another: on a keyboard, in the alphabet, up or down, by one step."""
    length, step = 1, None
    while at + length < len(text):
        found = _step(text[at + length - 1], text[at + length])
        if found is None or step not in (None, found):
            break
        step, length = found, length + 1
    return length if length >= _REPEAT else 1


def _step(one: str, other: str) -> int | None:
    """The direction from one character to its neighbour; None where they are none."""
    if abs(ord(other) - ord(one)) <= 1:
        return ord(other) - ord(one)
    for row in _ROWS:
        place = row.find(one)
        if place >= 0 and other in row and abs(row.find(other) - place) == 1:
            return row.find(other) - place
    return None


def _repeated(text: str, at: int) -> int:
    """The length of the longest beginning of `text[at:]` that occurs before, forwards or backwards."""
    before, length = text[:at], 0
    while at + length < len(text):
        part = text[at : at + length + 1]
        # what lies before may run into the part itself: `abab…` repeats `ab`
        if part not in text[: at + length] and part[::-1] not in before:
            break
        length += 1
    return length if length >= _REPEAT else 1


def _reads_like_words(secret: str) -> bool:
    """Whether its letters follow one another as in English, figures for letters included."""
    if _HEXADECIMAL.fullmatch(secret):
        return False
    text = secret.lower().translate(_LEET)
    pairs = [text[at : at + 2] for at in range(len(text) - 1) if text[at : at + 2].isalpha()]
    return len(pairs) >= 12 and sum(pair in _PAIRS for pair in pairs) > _MAX_PAIRS * len(pairs)

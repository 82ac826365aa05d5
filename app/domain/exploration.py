"""One place of a list that now and then shows something nobody knows enough about, with the chance it had. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Exploration:
    """In `share` of the lists, place `position` (1 is the first) goes to one of up to `pool` fresh or uncertain items.

    share 0: never. Every list says with which chance the item in that place came there, explored or not.
    """

    share: float = 0.0
    position: int = 10
    pool: int = 50


@dataclass(frozen=True, slots=True)
class Draw:
    """`row` of the pool is shown (None: the list stays as it is), and that had the chance `propensity`."""

    row: int | None
    propensity: float


def draw(exploration: Exploration, n: int, seed: str) -> Draw:
    """Draw for one list, with `n` items in the pool; the same seed draws the same, in every process.

    Each pool item is shown with share / n, the list's own item with 1 - share: the pool must not hold that one.
    """
    if not n or exploration.share <= 0.0:
        return Draw(None, 1.0)
    digest = blake2b(seed.encode(), digest_size=16, person=b"encore-explore").digest()
    # Two independent numbers out of one hash: 64 bits leave no bias that anybody could measure.
    chance = int.from_bytes(digest[:8], "big") / 2**64
    if chance >= exploration.share:
        return Draw(None, 1.0 - exploration.share)
    return Draw(int.from_bytes(digest[8:], "big") * n >> 64, exploration.share / n)

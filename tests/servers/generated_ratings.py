"""Ratings with a taste to be found, for scenarios that need no file."""

from __future__ import annotations

import random

from tests.servers.scenario import Rating

USERS, ITEMS, EACH, TASTES = 150, 120, 25, 4


def taste_ratings() -> list[Rating]:
    """People rate four out of five times what is of their own taste, and like it."""
    draw = random.Random(3)
    ratings = []
    for user in range(USERS):
        for moment in range(EACH):
            is_taste = draw.random() < 0.8
            item = draw.randrange(ITEMS // TASTES) * TASTES + (user % TASTES if is_taste else draw.randrange(TASTES))
            value = draw.choice([4.0, 4.5, 5.0]) if is_taste else draw.choice([1.0, 2.0, 3.0])
            ratings.append(Rating(f"u{user}", f"v{item}", value, moment + draw.random()))
    return ratings

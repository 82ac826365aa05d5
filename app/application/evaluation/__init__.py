"""Choosing a recipe and judging recommenders on held-out events."""

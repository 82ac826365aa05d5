"""Forgetting people in every store, with a certificate; finishing what a kill cut off; doing it again."""

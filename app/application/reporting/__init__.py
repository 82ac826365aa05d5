"""Figures worked out by the clock: what people do, and how good the champion is on what they did since."""

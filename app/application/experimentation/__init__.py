"""Experiments and the request log: who sees which arm, what was shown, and which arm is better."""

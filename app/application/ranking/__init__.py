"""One serving state and one history in, a ranked list out: pure computation, run in a thread."""

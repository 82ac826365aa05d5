"""Measurements, each a module of its own: `python -m benchmarks NAME…` or `make bench` for all of them."""

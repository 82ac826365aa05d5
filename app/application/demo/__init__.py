"""The demo's catalogue and people."""

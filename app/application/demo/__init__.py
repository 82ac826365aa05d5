"""The demo's catalog and people."""

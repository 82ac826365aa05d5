"""The code broken on purpose (docs/reliability.md): what is broken, and the test that must notice."""

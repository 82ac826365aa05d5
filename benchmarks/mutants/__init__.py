"""The code broken on purpose (reliability.md §1.3): what is broken, and the test that must notice."""

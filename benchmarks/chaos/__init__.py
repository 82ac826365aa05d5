"""The chaos procedure (docs/reliability.md): real servers, real processes, a ledger, a nemesis, one verdict."""

"""The chaos procedure (reliability.md §1.1): real servers, real processes, a ledger, a nemesis, one verdict."""

"""Events out: the outbox, its relay, and the document that describes all topics."""

"""Events in: decoded by one set of rules, stored exactly once, visible in the next list."""

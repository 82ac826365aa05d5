"""Lists that something has changed: raised generations in the cache, forgotten copies here."""

"""Models as bytes: immutable, checked before they are parsed, tried before they serve."""

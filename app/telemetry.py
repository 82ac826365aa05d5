"""Every metric (name, kind, meaning), the tracer and JSON logging, in one place."""

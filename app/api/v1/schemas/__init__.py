"""What goes over the wire, declared once: pydantic where bytes come in, and the documentation of what goes out."""

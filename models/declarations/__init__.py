"""Public names, each declared once: metrics, log events, error codes."""

"""Names that the outside relies on, each declared once: metrics, log events, error codes."""

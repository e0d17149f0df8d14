"""Which Redis can be used, and what it allows."""

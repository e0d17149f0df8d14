"""Which PostgreSQL can be used, and what each transaction sets."""

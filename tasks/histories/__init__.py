"""Redis and PostgreSQL held to one history."""

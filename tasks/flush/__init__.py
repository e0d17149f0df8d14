"""Writing what changed to PostgreSQL."""

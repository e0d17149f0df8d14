"""Publications of rules in PostgreSQL."""

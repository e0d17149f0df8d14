"""Checks of a PostgreSQL that answers: suitability, and the release of its tables."""

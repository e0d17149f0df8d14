"""What is asked of a PostgreSQL that answers: whether it can be used, and whose tables it has."""

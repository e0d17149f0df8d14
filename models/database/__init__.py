"""PostgreSQL: tables, statements and one store a noun."""

"""Which PostgreSQL a connection is made to, and what each transaction sets."""

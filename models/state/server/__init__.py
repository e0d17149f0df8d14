"""Which Redis a connection is made to, and what its user may do."""

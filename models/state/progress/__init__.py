"""Users' records: apply, hydrate, flush, repair."""

"""Whose key a request carries: the keys known, the check before every route."""

"""The state Redis: keys, scripts and one store a noun."""

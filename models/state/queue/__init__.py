"""Accepted batches until they are applied."""

"""Applying accepted batches."""

"""Checks of a Redis that answers: fitness, writes, memory, foreign keys."""

"""Comparing stored progress with what the events say."""

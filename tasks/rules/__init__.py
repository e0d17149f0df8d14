"""Picking up published rules."""

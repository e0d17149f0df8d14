"""Turns and shares, so that one owner leaves room for others."""

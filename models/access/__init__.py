"""Callers, API keys and quotas."""

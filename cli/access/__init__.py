"""Commands for API keys and quotas."""

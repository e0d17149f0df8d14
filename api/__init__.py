"""Every HTTP route besides ingest."""

"""Ingest over gRPC."""

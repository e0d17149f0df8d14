"""Connections of commands that work on PostgreSQL."""

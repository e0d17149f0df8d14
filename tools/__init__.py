"""Operators' and testers' tools."""

"""The rule engine: pure, without any server."""

"""What becomes a dead letter."""

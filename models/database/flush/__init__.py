"""What a flush writes."""

"""What the installation has agreed on, in Redis."""

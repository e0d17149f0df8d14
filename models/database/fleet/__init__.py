"""What the installation has agreed on, in PostgreSQL."""

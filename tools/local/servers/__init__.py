"""The servers of a local run: embedded or found."""

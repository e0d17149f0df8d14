"""The receiver as a process: its parts put together, and its start and stop."""

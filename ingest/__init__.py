"""From a socket to an accepted event."""

"""The receiver as a process: its parts, its sockets and their limits, who is let in, what its readiness is made of."""

"""What all HTTP connections of one receiver have to keep, and how much of their bodies it holds."""

from dataclasses import dataclass

MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of bodies that have no answer yet, in all connections together. Parsed, a body takes several times its size."""


@dataclass(slots=True)
class ConnectionLimits:
    """Limits, and what is shared to keep them; used on the event loop only."""

    request_timeout_s: float
    """For the head of a request, and once more for its body; and for a client to go on reading an answer."""
    max_connections: int
    max_held_bytes: int = MAX_HELD_BYTES
    held_bytes: int = 0
    closing: bool = False
    """The server is about to stop: every answer is the last one of its connection."""

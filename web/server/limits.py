"""What all HTTP connections of one receiver have to keep, how much of their bodies it holds, and whose they are."""

from asyncio import Transport
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from models.fairness import Shares

MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of bodies that have no answer yet, in all connections together. Parsed, a body takes several times its size."""
Headers = Iterable[tuple[bytes, bytes]]


def _nobody(_headers: Headers) -> str | None:
    return None


@dataclass(slots=True)
class ConnectionLimits:
    """Limits, and what is shared to keep them; used on the event loop only."""

    request_timeout_s: float
    """For the head of a request, and once more for its body; and for a client to go on reading an answer."""
    max_connections: int
    max_held_bytes: int = MAX_HELD_BYTES
    owner_of: Callable[[Headers], str | None] = _nobody
    """Whose share a request is of, by its headers; None where there are no shares, for nobody shows a key."""
    crowded_out: Callable[[], None] = lambda: None
    """Counts a request that was one too many of its tenant."""
    closing: bool = False
    """The server is about to stop: every answer is the last one of its connection."""
    silent: dict[Transport, None] = field(default_factory=dict)
    """Connections that have not said anything yet, the oldest first."""
    bodies: Shares = field(init=False)
    connections: Shares = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Shares(self.max_held_bytes)
        self.connections = Shares(self.max_connections)

    @property
    def held_bytes(self) -> int:
        """Of bodies that have no answer yet."""
        return self.bodies.held

    def end_a_silent_one(self) -> bool:
        """Close the connection that has been silent longest, for one that is one too many; tells whether there was one.

        So connections that nobody has shown a key on do not keep others out.
        """
        for transport in self.silent:
            del self.silent[transport]
            transport.abort()
            return True
        return False

"""How much a worker takes at a time, so that a turn at a shard is short.

A worker serves several shards in turns, so an event waits for a turn of each of them: with eight shards and turns of
20 ms for up to 160 ms. An event may cost ten microseconds or a millisecond, by its rules, its payload and whether its
user must be loaded; so the size of a take follows what the last ones took.
"""

from dataclasses import dataclass

TURN_S = 0.01
"""After this a worker goes on to the next shard."""
TAKE_S = 0.005
"""What one take should need."""
LEAST, MOST = 32 * 1024, 256 * 1024


@dataclass(slots=True)
class Pace:
    """The size of a worker's next take: bytes, where each event counts as 1 KiB beside its own."""

    size: int = 64 * 1024

    def note(self, seconds: float) -> None:
        """Learn from a take that left something; another one says nothing about its size."""
        factor = min(max(TAKE_S / max(seconds, 1e-6), 0.5), 2.0)
        self.size = min(max(int(self.size * factor), LEAST), MOST)

"""The shards' queues as a worker reads them: Redis Streams in the state Redis, of which one read is one Celery message.

A reader belongs to a channel of ``transport.py`` and runs in the event loop of the worker's main process. It reads all
streams of the worker by one blocking call, never more than the worker can take, claims what was given to workers before
and is not applied, and keeps hold of what its worker has in hand. A fault here is told and tried again a second later:
none ends the worker.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

import structlog
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from models.errors import StateUnavailableError
from models.failpoints import failpoint
from models.state.connection import is_of_other_type
from models.state.keys import stream_keys
from models.state.queue.batches import TakenBatch
from models.state.queue.journal import FAIR_STREAMS, GROUP, Journal, make_groups

BLOCK_MS = 1000
"""How long a read waits for a first entry; the worker's other work goes on meanwhile."""
PAUSE_S = 1.0
"""After a fault, and between two looks at what is to be given again."""
OVERDUE_S = 10.0
"""Beyond the wait of a read, after which its connection counts as dead."""
MESSAGE_S = 0.04
"""What the work of one message should need: whoever has little waiting, waits for about one message."""
STREAM_BYTES = 8 * 1024
"""What a read asks of each stream: about 70 single events, or one batch. Fewer would cost a call of a script each."""
MOST_ENTRIES = 1024
"""Of the streams of those who have much waiting, in one read: they may all be large."""

log = structlog.get_logger()


class Work(NamedTuple):
    """What one message brings, by shard."""

    shards: dict[int, list[TakenBatch]]

    @property
    def names(self) -> dict[int, Sequence[str]]:
        """The names of its entries."""
        return {shard: [batch.batch_id for batch in batches] for shard, batches in self.shards.items()}


@dataclass(slots=True)
class Window:
    """What a read asks for, by what the last ones brought: its work is to be short, and its entries few where large."""

    heavy: int = 64
    """Streams, of those who have much waiting."""
    _light_bytes: float = 512.0
    _heavy_bytes: float = 512.0
    """Of an entry: on average, and at most."""

    def note(self, work: Work, seconds: float) -> None:
        """Learn from a message."""
        light: list[int] = []
        heavy: list[int] = []
        for batches in work.shards.values():
            for batch in batches:
                (light if batch.batch_id.startswith("0:") else heavy).append(len(batch.packed))
        if light:
            self._light_bytes = sum(light) / len(light)
        self._heavy_bytes = max(heavy) if heavy else self._heavy_bytes / 2
        self.heavy = max(self.heavy // 2, 1) if seconds > MESSAGE_S else min(self.heavy * 2, MOST_ENTRIES)

    def count(self) -> int:
        """The entries of each stream."""
        return max(1, int(STREAM_BYTES / max(self._light_bytes, self._heavy_bytes)))

    def streams(self, count: int) -> int:
        """How many streams of those who have much waiting are read with so many entries of each."""
        return max(1, min(self.heavy, MOST_ENTRIES // count))


class Reading(NamedTuple):
    """One call that reads."""

    streams: Sequence[str]
    of_each: int
    """Entries."""
    waits: bool


@dataclass
class StreamReader:
    """Reads the streams of some shards for one worker."""

    journal: Journal
    redis: Redis
    """For all but the blocking read."""
    window: Window = field(default_factory=Window)
    claims: deque[Work] = field(default_factory=deque)
    """What was claimed and is not delivered yet."""
    in_hand: dict[str, tuple[Work, float]] = field(default_factory=dict)
    """By the message that brought it, and when."""
    _turn: int = 0
    _is_narrow: bool = False
    _sent_at: float | None = None
    _not_before: float = float("-inf")
    _may_claim: bool = True
    _foreign: frozenset[str] = frozenset()
    _shards: dict[str, int] = field(default_factory=dict)

    @property
    def is_reading(self) -> bool:
        """Whether a reply is on its way."""
        return self._sent_at is not None

    def tick(self) -> None:
        """Every second: look again at what was given before, and keep hold of what is in hand."""
        self._may_claim, self._foreign = True, frozenset()
        for work in (*self.claims, *(work for work, _ in tuple(self.in_hand.values()))):
            try:
                self.journal.hold(work.names)
            except (StateUnavailableError, RedisError, OSError) as error:
                self.pause(error)
                return

    def is_overdue(self) -> bool:
        """Whether the reply does not come, which a live server would have sent."""
        return self._sent_at is not None and monotonic() - self._sent_at > BLOCK_MS / 1000 + OVERDUE_S

    def pause(self, error: Exception) -> None:
        """Try again later."""
        if monotonic() >= self._not_before:
            log.warning("streams_not_read", error=str(error), kind=type(error).__name__)
        self._sent_at, self._not_before = None, monotonic() + PAUSE_S

    def may_ask(self) -> bool:
        """Whether the next call may be made, after a fault."""
        return monotonic() >= self._not_before

    def claim(self, shards: Iterable[int]) -> None:
        """Claim what is due to be given again, if it is time to look; raises StateUnavailableError."""
        if not self._may_claim or self.claims:
            return
        self._may_claim = False
        together: dict[int, list[TakenBatch]] = {}
        found = self.journal.returned(shards)
        if found:
            failpoint("batches.returned")
        for shard, returned in found.items():
            self.claims.extend(Work({shard: [one.batch]}) for one in returned if one.is_alone)
            if rest := [one.batch for one in returned if not one.is_alone]:
                together[shard] = rest
        if together:
            self.claims.appendleft(Work(together))
        if self.claims:
            log.warning("batches_republished", batches=sum(map(len, found.values())), messages=len(self.claims))

    def start(self, connection: Any, shards: Sequence[int]) -> None:
        """Send the next read."""
        reading = self._plan(shards)
        waits = ("BLOCK", BLOCK_MS) if reading.waits else ()
        streams = reading.streams
        self._is_narrow = not reading.waits
        self._sent_at = monotonic()
        read = ["XREADGROUP", "GROUP", GROUP, GROUP, "COUNT", reading.of_each, *waits]
        connection.send_command(*read, "STREAMS", *streams, *[">"] * len(streams))

    def _plan(self, shards: Sequence[int]) -> Reading:
        """Who has least waiting comes first; where a read of all would bring too much, the others take turns."""
        self._shards = {stream: shard for shard in shards for stream in stream_keys(shard)}
        by_weight = list(zip(*[stream_keys(shard)[:FAIR_STREAMS] for shard in shards], strict=True))
        light = [stream for stream in by_weight[0] if stream not in self._foreign]
        heavy = [stream for part in by_weight[1:] for stream in part if stream not in self._foreign]
        self._turn += 1
        light, heavy = _rotated(light, self._turn), _rotated(heavy, self._turn)
        count = self.window.count()
        part = self.window.streams(count)
        if part >= len(heavy) or self._is_narrow:
            return Reading([*light, *heavy], count, waits=True)
        self._turn += part - 1
        return Reading([*light, *heavy[:part]], count, waits=False)

    def finish(self, connection: Any) -> Work | None:
        """The reply of the read; None where there is nothing.

        Raises:
            RedisError, OSError: the connection is of no more use.
        """
        self._sent_at = None
        try:
            reply = connection.read_response()
        except ResponseError as error:
            self._mend(error)
            return None
        found = reply.items() if isinstance(reply, dict) else reply or ()
        work: dict[int, list[TakenBatch]] = {}
        for stream, entries in found:
            batches = work.setdefault(self._shards[stream.decode()], [])
            number = stream.decode().rpartition(":")[2]
            batches.extend(TakenBatch(f"{number}:{name.decode()}", fields[1]) for name, fields in entries if fields)
        if work:
            self._is_narrow = False  # else the next read looks everywhere
        return Work(work) if work else None

    def _mend(self, error: ResponseError) -> None:
        """Make the groups that a new or emptied Redis lacks, and pass over what holds another application's value."""
        if str(error).startswith(("NOGROUP", "UNBLOCKED")):
            make_groups(self.redis, self._shards)
        elif is_of_other_type(error):
            pipeline = self.redis.pipeline(transaction=False)
            for stream in self._shards:
                pipeline.type(stream)
            kinds = zip(self._shards, pipeline.execute(), strict=True)
            self._foreign = frozenset(stream for stream, kind in kinds if kind not in {b"stream", b"none"})
            log.error("foreign_streams", keys=sorted(self._foreign))
        else:
            raise error

    def took(self, tag: str, work: Work) -> None:
        """Note what a message brings to the worker."""
        self.in_hand[tag] = (work, monotonic())

    def done(self, tag: str) -> None:
        """The message's task has ended; what it did not apply stays pending."""
        work, since = self.in_hand.pop(tag, (None, 0.0))
        if work is not None:
            self.window.note(work, monotonic() - since)

    def give_back(self, tag: str) -> None:
        """The message will not be worked on here."""
        work, _ = self.in_hand.pop(tag, (None, 0.0))
        if work is not None:
            self._give_back(work)

    def close(self) -> None:
        """Give back whatever was claimed or brought and not worked on."""
        while self.claims:
            self._give_back(self.claims.popleft(), is_tried=False)
        for tag in tuple(self.in_hand):
            self.give_back(tag)

    def _give_back(self, work: Work, *, is_tried: bool = True) -> None:
        try:
            if is_tried:
                self.journal.give_back(work.names)
            else:
                self.journal.give_back_untried(work.shards)
        except (StateUnavailableError, RedisError) as error:  # it comes back all the same, later
            log.warning("batches_not_given_back", error=str(error))


def _rotated(streams: Sequence[str], turn: int) -> list[str]:
    start = turn % len(streams) if streams else 0
    return [*streams[start:], *streams[:start]]

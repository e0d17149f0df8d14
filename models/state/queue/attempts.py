"""How workers fared with batches that came back to them, so that what never succeeds is given up with its reason.

A batch that is applied at its first try leaves nothing here. One that comes back has a hash of its own, gone a day
after its last try:

* ``tries``: how often a worker began with it; counted beforehand, for some events end the process
* ``try:<name>``: a try that is counted, so that it is not counted twice and can be taken back
* ``killed``: how often the process that had it was seen to end
* ``exception``, ``error``, ``traceback``: what was last known of the cause
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import shard_keys, tries_key
from models.state.scripts import register

FINISHED, READY, GONE = -2, -1, 0
"""What ``begin`` answers for a batch that has left the journal after a try, one that is ready, and one that the journal
does not have though nobody tried it: it was applied at once, or Redis has lost it."""
_KEPT = timedelta(days=1)
_KEPT_MS = _KEPT // timedelta(milliseconds=1)


class Record(NamedTuple):
    """What is known of a batch's tries."""

    tries: int = 0
    killed: int = 0
    exception: str | None = None
    error: str | None = None
    traceback: str | None = None


class Tries:
    """The tries of batches of all shards."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin = register(redis, "begin_batch")
        self._forgive = register(redis, "forgive_try")

    def begin(self, shard: int, batch_id: str, name: str) -> int:
        """Count a try before it is made; answers its number, or why none is counted.

        Raises:
            StateUnavailableError: the state Redis did not answer. Beginning again by the same name is safe.
        """
        keys = shard_keys(shard)
        with state_errors():
            answer: int = self._begin(
                keys=[keys.journal, keys.ready, tries_key(shard, batch_id)], args=[batch_id, _KEPT_MS, name]
            )
        return answer

    def forgive(self, shard: int, batch_id: str, name: str) -> None:
        """Take back a try that ended for a passing reason, if it was counted.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            self._forgive(keys=[tries_key(shard, batch_id)], args=[name])

    def note(
        self, shard: int, batch_id: str, error: BaseException, *, traceback: str = "", killed: bool = False
    ) -> None:
        """Remember why a try failed; ``killed`` tells that it took the process with it.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        key = tries_key(shard, batch_id)
        words: Any = {"exception": type(error).__name__, "error": str(error), "traceback": traceback}
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping=words)
            if killed:
                pipeline.hincrby(key, "killed", 1)
            pipeline.pexpire(key, _KEPT_MS)
            pipeline.execute()

    def of(self, shard: int, batch_ids: Sequence[str]) -> list[Record]:
        """What is known of these batches, in their order, in one round trip.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for batch_id in batch_ids:
                pipeline.hgetall(tries_key(shard, batch_id))
            return [_record(fields) for fields in pipeline.execute()]


def _record(fields: Any) -> Record:
    words = {name: fields[name.encode()].decode(errors="replace") for name in Record._fields if name.encode() in fields}
    return Record(
        int(words.pop("tries", 0)), int(words.pop("killed", 0)), **{name: text or None for name, text in words.items()}
    )

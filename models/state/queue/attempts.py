"""Why workers failed with batches that come back to them, so that what never succeeds is given up with its reason.

A batch that is applied at its first try leaves nothing here, and how often one was tried its stream counts. One that
failed has a hash of its own, gone a day after its last failure:

* ``killed``: how often the process that had it was seen to end
* ``exception``, ``error``, ``traceback``: what was last known of the cause
"""

from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import tries_key

_KEPT = timedelta(days=1)


class Record(NamedTuple):
    """What is known of a batch's failures."""

    killed: int = 0
    exception: str | None = None
    error: str | None = None
    traceback: str | None = None


class Attempts:
    """The failures of batches of all shards."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

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
            pipeline.pexpire(key, _KEPT)
            pipeline.execute()

    def of(self, shard: int, batch_id: str) -> Record:
        """What is known of a batch.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            fields: Any = self._redis.hgetall(tries_key(shard, batch_id))
        words = {
            name: fields[name.encode()].decode(errors="replace") or None
            for name in Record._fields
            if name.encode() in fields
        }
        return Record(int(words.pop("killed", None) or 0), **words)

"""The fence of each shard: the lowest revision it accepts (promise P14).

A publisher raises all fences before it commits a publication. From then on the apply script refuses requests of
workers that have not read it; they read it and make them anew. So no event is evaluated by rules that are not those of
its time, however late a worker learns of them, and an event waits for no longer than a publication takes.

A fence is ``<revision>:<token>``. Each raise has a token of its own: where a publisher died, its fence is lowered only
if it is still exactly what was seen, so the fence of another publisher never is.
"""

import re
from collections.abc import Sequence
from uuid import uuid4

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import shard_keys
from models.state.scripts import ScriptCall, call_all, register

_FENCE = re.compile(rb"(\d+)")


def revision_of(fence: bytes | None) -> int | None:
    """The revision of a fence; None where there is none, or where it is no fence."""
    found = _FENCE.match(fence or b"")
    return int(found[1]) if found else None


class Fences:
    """The fences of all shards."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._keys = [shard_keys(shard).fence for shard in range(shards)]
        self._replace = register(redis, "replace_fence")

    def read(self) -> list[bytes | None]:
        """The fence of each shard as it stands.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for key in self._keys:
                pipeline.get(key)
            fences: list[bytes | None] = pipeline.execute()
        return fences

    def raise_to(self, revision: int) -> int:
        """Let no shard take a request that is older; returns the server's time (µs) when all of them stood.

        Only for the publisher, while it keeps other publishers out.

        Raises:
            StateUnavailableError: the state Redis did not answer; some may stand.
        """
        fence = _fence(revision)
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for key in self._keys:
                pipeline.set(key, fence)
            pipeline.time()
            seconds, rest = pipeline.execute()[-1]
        return int(seconds) * 1_000_000 + int(rest)

    def align(self, seen: Sequence[bytes | None], revision: int) -> int:
        """Put fences to a revision where they are missing or higher, and have not changed since ``seen``.

        Returns how many. One that is lower is of a Redis that went back in time: events may have been judged by older
        rules since, so it is left to the reset of its shard (``models/fleet/histories.py``).

        Only while no publication is under way: ``revision`` must be the newest that PostgreSQL has.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        fence = _fence(revision)
        calls = [
            ScriptCall(self._replace, [key], [old or b"", fence])
            for key, old in zip(self._keys, seen, strict=True)
            if (known := revision_of(old)) is None or known > revision
        ]
        if not calls:
            return 0
        with state_errors():
            replies = call_all(self._redis, calls)
        return sum(replies)


def _fence(revision: int) -> bytes:
    return b"%d:%s" % (revision, uuid4().hex.encode())

"""The reads of a flush, each counted, so that none is of a Redis that is gone."""

from uuid import uuid4

from redis.client import Pipeline

from models.errors import HistoryChangedError
from models.state.keys import trace_key

_TRACE_SECONDS = 300
"""How long a flush may take from its first read to its commit."""


class ReadTrace:
    """The reads of one flush of a shard, counted in Redis in the transaction of each read.

    The count is right only if no read was made of a Redis that has gone back in time since.
    """

    def __init__(self, shard: int) -> None:
        self.token = uuid4().hex
        self.reads = 0
        self.key = trace_key(shard, self.token)

    def count(self, pipeline: Pipeline) -> None:
        """Count a read; its pipeline's first two replies belong to ``check``."""
        pipeline.incr(self.key)
        pipeline.expire(self.key, _TRACE_SECONDS)

    def check(self, counted: int) -> None:
        """Look at the first of the two replies.

        Raises:
            HistoryChangedError: the reads before were of another Redis.
        """
        self.reads += 1
        if counted != self.reads:
            raise HistoryChangedError("Redis went back in time while a flush was reading")

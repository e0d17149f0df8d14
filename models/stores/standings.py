"""How the two stores of each shard stand to each other (promise P12).

PostgreSQL is read between two looks at Redis: what Redis knew to be committed before must be there, and what is there
must be known to Redis afterwards. So a flush that runs meanwhile makes no difference.
"""

from math import ceil
from typing import NamedTuple

from redis import Redis
from sqlalchemy import Engine

from models.database.fleet.histories import read_histories as read_database
from models.fleet.histories import DatabaseHistory, Standing, StateHistory, standing
from models.state.fleet.histories import read_histories as read_state


class Difference(NamedTuple):
    """A shard whose stores are not in step."""

    shard: int
    standing: Standing
    database: DatabaseHistory
    state: StateHistory

    @property
    def lost_at_most(self) -> int:
        """How many accepted events the store that is behind may have lost, which the other one does not have either.

        Of Redis by the rate of the last flushes and the time since the last one, of PostgreSQL by what was counted.
        """
        if self.standing is Standing.STATE_BEHIND:
            return ceil(self.database.event_rate * self.database.silent_seconds)
        return max(0, self.state.flushed_events - self.database.flushed_events)


class Comparison(NamedTuple):
    """One look at both stores."""

    differences: list[Difference]
    is_marked: bool
    """Whether shards are closed because PostgreSQL was found to be behind."""

    def of(self, standing: Standing) -> list[Difference]:
        """The differences of one kind."""
        return [difference for difference in self.differences if difference.standing is standing]


def compare(redis: Redis, engine: Engine, shards: int) -> Comparison:
    """Compare all shards; a reset that was cut off counts as Redis that is behind.

    Raises:
        StateUnavailableError, DatabaseUnavailableError: a server did not answer.
    """
    before = read_state(redis, range(shards))
    database = read_database(engine, range(shards))
    after = read_state(redis, range(shards))
    found = []
    for shard in range(shards):
        known = database[shard]
        if after[shard].is_closed or standing(known, after[shard]) is Standing.STATE_BEHIND:
            found.append(Difference(shard, Standing.STATE_BEHIND, known, after[shard]))
        elif standing(known, before[shard]) is Standing.DATABASE_BEHIND:
            found.append(Difference(shard, Standing.DATABASE_BEHIND, known, before[shard]))
    return Comparison(found, any(state.is_behind for state in after.values()))

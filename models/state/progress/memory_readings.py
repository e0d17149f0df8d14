"""The memory of the state Redis and its largest tenants, read before accepting."""

from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis

from models.events import unpack_batch
from models.state.checks.memory import NewUsers, StateMemory, held_by_tenant, read_memory
from models.state.clock import StateClock
from models.state.progress.records import Records
from models.state.queue.batches import Batch


@dataclass(slots=True)
class StateReadings:
    """What is known of the memory of the state Redis, and of the tenants that fill it; each raises
    StateUnavailableError.
    """

    redis: Redis
    records: Records
    clock: StateClock
    shards: int
    """May be set while requests come."""

    def memory(self) -> StateMemory:
        """How much is used."""
        return read_memory(self.redis, self.shards)

    def new_users(self) -> Mapping[str, int]:
        """New users of the last hour by tenant."""
        return NewUsers(self.redis).lately(now_us=self.clock())

    def held(self) -> Mapping[str, int]:
        """Bytes that wait by tenant."""
        return held_by_tenant(self.redis, self.shards)

    def has_users_of(self, batch: Batch) -> bool:
        """Whether Redis has all users of a batch."""
        users = {(event.tenant_id, event.user_id) for event in unpack_batch(batch.packed)}
        return self.records.has_all(batch.shard, users)

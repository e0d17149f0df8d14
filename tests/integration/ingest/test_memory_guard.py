"""One tenant fills Redis with new users, which has little memory left: the others do not notice."""

from collections import Counter

import pytest

from ingest.memory_guard import MemoryGuard
from models.errors import Bound
from models.fleet.probes import PROBE_TENANT
from models.state.checks.answers import write_probe
from models.state.checks.memory import MemoryGauge, NewUsers, read_memory
from models.state.progress.evictions import Evictions
from models.state.progress.memory_readings import StateReadings
from tasks.flush.eviction import Evictor
from tests.support.stack import SHARDS

pytestmark = pytest.mark.slow

ROOM = 12_000_000


class Installation:
    """A stack whose receiver guards the memory, and whose flush frees it."""

    def __init__(self, stack):
        self.stack, self.new_users = stack, NewUsers(stack.redis)
        readings = StateReadings(stack.redis, stack.records, stack.clock, SHARDS)
        self.guard = MemoryGuard(stack.journal, readings, quota=0)
        evictions = Evictions(stack.redis, SHARDS)
        object.__setattr__(stack.evaluator, "new_users", self.new_users)
        object.__setattr__(
            stack.flusher, "evictor", Evictor(MemoryGauge(stack.redis, SHARDS), evictions, stack.metrics)
        )

    def memory(self):
        return read_memory(self.stack.redis, SHARDS)

    def send(self, tenant, users, payload=b""):
        """A request with an event of each user: by which bounds it was refused, or that it was taken."""
        batches = self.stack.batches(*(self.stack.event(user=user, tenant=tenant, payload=payload) for user in users))
        batches = [batch._replace(tenant_id=tenant) for batch in batches]
        appended = self.guard.append(batches, self.stack.clock() // 1000)
        refused = {batch.batch_id for batch, _ in appended.refused}
        self.stack.apply(*(batch for batch in batches if batch.batch_id not in refused))
        bounds: list[object] = [bound for _, bound in appended.refused]
        return Counter(bounds or [True])


@pytest.fixture
def room_for():
    limited = []

    def room_for(redis, size):
        limited.append(redis)
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + size)

    yield room_for
    for redis in limited:
        redis.config_set("maxmemory", 0)


def test_one_tenants_new_users_do_not_keep_others_from_being_taken(stack, redis, room_for):
    one = Installation(stack)
    one.send("quiet", ["old"])
    stack.flusher.flush()
    room_for(redis, ROOM)
    loud: Counter[object] = Counter()
    number = 0
    for size in (1000, 100, 10):
        refused = 0
        while refused < 3 and number < 60_000:
            answer = one.send("loud", [f"new-{number + index}" for index in range(size)])
            loud, number, refused = loud + answer, number + size, refused + (True not in answer)
        assert refused == 3
    assert Bound.TENANT_STATE_MEMORY in loud
    assert one.memory().part_used < 1
    write_probe(redis)
    for index in range(40):
        assert one.send("quiet", [f"quiet-{index}"]) == {True: 1}
    assert stack.progress("old", "quiet")["logins", ""] == (1, False)
    stack.flusher.flush()
    assert one.memory().part_used < 0.8
    assert one.send("loud", ["one-more"]) == {True: 1}  # by itself, once its records could leave
    assert stack.count("dead_letters") == 0
    assert PROBE_TENANT not in one.new_users.lately(now_us=stack.clock())


def test_what_waits_of_one_tenant_does_not_keep_others_from_being_taken(stack, redis, room_for):
    """PostgreSQL is away, say: nothing leaves the log, and no record may go."""
    one = Installation(stack)
    for tenant, user in (("quiet", "old"), ("loud", "one")):
        one.send(tenant, [user])
    room_for(redis, ROOM)
    for _ in range(2000):
        answer = one.send("loud", ["one"], payload=b"x" * 16_000)
        if True not in answer:
            break
    assert answer == {Bound.TENANT_STATE_MEMORY: 1}
    for _ in range(40):
        assert one.send("quiet", ["old"]) == {True: 1}
    assert one.memory().part_used < 1

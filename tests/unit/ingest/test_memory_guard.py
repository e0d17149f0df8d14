"""Who is refused, and when, so that the state Redis does not reach its limit."""

import pytest

from ingest.memory_guard import FULL, LEAST_USERS, SHORT, MemoryGuard, above_share
from models.errors import Bound, NotReadyError
from models.state.checks.memory import EXPANSION, StateMemory
from models.state.queue.batches import Appended, Batch


class Installation:
    """What a guard asks, as a test says."""

    def __init__(self, *, quota=0):
        self.now = 0.0
        self.part, self.asked = 0.0, 0
        self.lately: dict[str, int] = {}
        self.known: set[str] = set()
        self.written: list[str] = []
        self.waiting: dict[str, int] = {}
        self.unconfirmed = ""
        self.guard = MemoryGuard(self, self, quota, lambda: self.now)

    def memory(self):
        self.asked += 1
        return StateMemory(int(self.part * 1000), 1000, 0)

    def new_users(self):
        return self.lately

    def held(self):
        return self.waiting

    def has_users_of(self, batch):
        return batch.batch_id in self.known

    def append(self, batches, _now_ms):
        self.written += [batch.batch_id for batch in batches]
        return Appended(list(batches), unconfirmed=self.unconfirmed)

    def send(self, *tenants):
        """One batch of each tenant, named by it; what was refused, by which bound."""
        self.now += 10
        appended = self.guard.append([Batch(0, tenant, b"", tenant) for tenant in tenants], 0)
        return {batch.tenant_id: bound for batch, bound in appended.refused}


def test_while_there_is_room_everybody_is_taken():
    one = Installation()
    one.part, one.lately = SHORT - 0.01, {"loud": 1_000_000}
    assert one.send("loud", "quiet") == {}
    assert one.written == ["loud", "quiet"]
    one.guard.check()


def test_what_replicas_do_not_confirm_is_told_beside_what_is_refused():
    one = Installation()
    one.part, one.lately, one.unconfirmed = SHORT, {"loud": 9000}, "0 of 1 replicas"
    appended = one.guard.append([Batch(0, name, b"", name) for name in ("loud", "quiet")], 0)
    assert [batch.tenant_id for batch, _ in appended.refused] == ["loud"]
    assert appended.unconfirmed == "0 of 1 replicas"


def test_when_memory_is_short_only_those_are_refused_whose_new_users_fill_it():
    one = Installation()
    one.part, one.lately = SHORT, {"loud": 9000, "quiet": 40}
    assert one.send("loud", "quiet", "silent") == {"loud": Bound.TENANT_STATE_MEMORY}
    assert one.written == ["quiet", "silent"]
    with pytest.raises(NotReadyError, match="who fills it"):
        one.guard.check()


def test_so_are_those_of_whom_much_waits():
    one = Installation()
    one.part, one.waiting = SHORT, {"loud": 500, "small": 10}
    assert one.send("loud", "small", "silent") == {"loud": Bound.TENANT_STATE_MEMORY}


def test_near_the_limit_nobody_is_taken():
    one = Installation()
    one.part = FULL
    assert one.send("quiet") == {"quiet": Bound.STATE_MEMORY}
    with pytest.raises(NotReadyError, match="nothing is accepted"):
        one.guard.check()


def test_they_are_taken_again_once_there_is_room():
    one = Installation()
    one.part, one.lately = SHORT, {"loud": 9000}
    assert one.send("loud")
    one.part = SHORT - 0.01
    assert one.send("loud") == {}


def test_a_server_without_a_limit_is_never_short():
    assert StateMemory(10**12, 0, 10**12).part_promised == 0


def test_what_is_accepted_counts_before_it_is_applied():
    assert StateMemory(100, 1000, 50).part_promised == (100 + 50 * EXPANSION) / 1000


@pytest.mark.parametrize(
    ("lately", "found"),
    [
        ({}, set()),
        ({"few": 50}, set()),
        ({"alone": 51}, {"alone"}),
        ({"a": 1000, "b": 1000, "c": 1000}, {"a", "b", "c"}),
        ({"a": 1000, "b": 900, "c": 30}, {"a", "b"}),
        ({"flood": 100_000, "busy": 5000, "small": 10}, {"flood"}),
    ],
)
def test_who_fills_it_has_more_than_an_even_share(lately, found):
    assert above_share(lately, LEAST_USERS) == found


def test_past_the_quota_only_users_that_redis_has_are_taken():
    one = Installation(quota=100)
    one.lately, one.known = {"spent": 100, "other": 99}, {"spent"}
    assert one.send("spent", "other") == {}
    one.known = set()
    assert one.send("spent", "other") == {"spent": Bound.NEW_USERS}


def test_it_asks_anew_where_what_was_accepted_since_may_have_filled_it():
    one = Installation()
    one.part, one.waiting = SHORT - 0.05, {"loud": 500}
    one.guard.append([Batch(0, "first", b"", "loud")], 0)
    one.part = FULL - 0.01
    appended = one.guard.append([Batch(0, "second", b"x" * 10, "loud")], 0)
    assert [bound for _, bound in appended.refused] == [Bound.TENANT_STATE_MEMORY]


def test_redis_is_asked_ten_times_a_second_at_most():
    one = Installation()
    for _ in range(100):
        one.guard.append([], 0)
        one.now += 0.01
    assert one.asked <= 11

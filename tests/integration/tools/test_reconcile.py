"""``questline reconcile``: users get the rows and unlocks that their events mean, while events go on."""

from datetime import timedelta
from random import Random

import pytest

from models.database.dead_letters.writer import DeadLetter
from models.errors import HistoryChangedError
from models.events import unpack_batch
from models.rules.matcher import DEFAULT_LATENESS_US
from models.state.event_log import ShardLog
from models.state.progress.repairs import RecordRepairs
from tasks.audit.audit import Auditor, Scope
from tasks.audit.replay import RecallingMatcher
from tests.support.audit import audit, lessons, progress, sql
from tests.support.mixed_rules import events_of, plan_of
from tests.support.stack import SHARDS, WINDOW
from tools.audit.examination import DEAD_EVENTS, Examiner
from tools.audit.reconciliation import ATTEMPTS, BUSY, EXTRA_UNLOCK, UNKNOWN_VERSION, Reconciler

pytestmark = pytest.mark.slow

WRONG = "UPDATE user_goal_progress SET state = '[1]', progress = 1 WHERE goal_id = 'lessons'"


class Disturbed(RecordRepairs):
    """Record repairs with something that happens between looking and putting, as often as told."""

    def __init__(self, stack, event=lambda: None, times=0):
        super().__init__(stack.redis, window=WINDOW, record_ttl=timedelta(hours=1))
        self.event, self.times = event, times

    def compare_and_set(self, *arguments, **options):
        if self.times:
            self.times -= 1
            self.event()
        return super().compare_and_set(*arguments, **options)


def reconciler(stack, event=lambda: None, times=0):
    rules = stack.matcher().publications
    auditor = Auditor(stack.engine, lambda: RecallingMatcher(rules, lateness_us=DEFAULT_LATENESS_US))
    examiner = Examiner(auditor, Disturbed(stack, event, times), ShardLog(stack.redis), WINDOW, stack.clock)
    return Reconciler(examiner, stack.flusher, SHARDS, pause=lambda _seconds: None)


def reconcile(stack, scope=None, *, dry_run=False, event=lambda: None, times=0):
    return reconciler(stack, event, times).run(scope or Scope(), dry_run=dry_run)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE user_goal_progress SET progress = 9",
        "UPDATE user_goal_progress SET progress = 9, state = '[9]', stamp = stamp + 1000000",
        "UPDATE user_goal_progress SET status = 'completed', completed_at = now()",
        "UPDATE user_goal_progress SET rule_version = 3, slots = '[[1, true, [3], \"count\"]]'",
        "DELETE FROM user_goal_progress",
    ],
)
@pytest.mark.parametrize("is_cold", [False, True])
def test_a_row_altered_or_deleted_by_hand_is_right_again_and_goes_on(mixed, change, is_cold):
    lessons(mixed, 3)
    sql(mixed, change)
    if is_cold:
        mixed.redis.flushall()

    report = reconcile(mixed)

    assert report.is_right
    # Of an emptied Redis a reset comes first: it has repaired a row whose version says that it is ahead of the events.
    is_reset = is_cold and "stamp" in change
    assert report.users_differing == report.users_repaired == (not is_reset)
    assert progress(mixed) == (None if is_reset else 3, 3)
    assert audit(mixed).differences == []
    lessons(mixed, 2)
    assert progress(mixed) == (5, 5)
    assert audit(mixed).differences == []
    assert reconcile(mixed).users_differing == 0


def test_a_row_that_should_not_exist_leaves_postgresql_and_redis(mixed):
    lessons(mixed, 3)
    mixed.post(mixed.event("race", "ada", payload=b'{"seconds": 70}'))
    mixed.flusher.flush()
    sql(mixed, "DELETE FROM events WHERE event_type = 'race'")

    report = reconcile(mixed)

    assert report.is_right
    assert report.rows_deleted == 2
    assert progress(mixed, "fast") == (None, None)
    assert audit(mixed).differences == []


def test_a_user_without_any_events_is_to_have_no_rows_and_is_not_left_dirty(mixed):
    lessons(mixed, 1)
    sql(mixed, "DELETE FROM events")

    assert reconcile(mixed).is_right
    assert (mixed.rows("ada"), mixed.progress("ada")) == ({}, {})
    assert sum(mixed.records.dirty_counts(SHARDS)) == 0
    lessons(mixed, 1)
    assert progress(mixed) == (1, 1)


def test_a_missing_unlock_comes_back_with_the_event_that_made_it(mixed):
    for _ in range(6):
        lessons(mixed, 1)
    with mixed.engine.connect() as connection:
        before = connection.exec_driver_sql("SELECT event_id, completed_at FROM unlocks ORDER BY goal_id").all()
    sql(mixed, "DELETE FROM unlocks")

    report = reconcile(mixed)

    assert (report.unlocks_added, report.is_right) == (2, True)
    with mixed.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT event_id, completed_at FROM unlocks ORDER BY goal_id").all() == before


def test_an_unlock_that_no_event_explains_is_reported_and_stays(mixed):
    lessons(mixed, 5)
    sql(mixed, "UPDATE unlocks SET goal_id = 'fast' WHERE goal_id = 'lessons'")

    report = reconcile(mixed)

    assert [left.reason for left in report.left] == [EXTRA_UNLOCK]
    assert report.unlocks_added == 1
    assert not report.is_right
    assert mixed.count("unlocks") == 3


def test_a_wipe_of_redis_in_the_middle_of_a_flush_leaves_nothing_to_repair(mixed):
    """A flush has read, Redis is wiped, an event loads what PostgreSQL had before: two states, and one is void."""
    lessons(mixed, 1)
    first = [mixed.event("lesson", "ada") for _ in range(3)]
    mixed.post(*first)
    (under_way,) = mixed.flusher._groups()
    mixed.redis.flushall()
    mixed.post(mixed.event("lesson", "ada"))
    with pytest.raises(HistoryChangedError):
        mixed.flusher._commit(under_way)
    mixed.flusher.flush()
    assert progress(mixed) == (2, 2)
    assert audit(mixed).differences == []
    assert reconcile(mixed).users_differing == 0
    mixed.post(*first)  # they were lost, so they count
    mixed.flusher.flush()
    assert progress(mixed) == (5, 5)


def test_a_stale_record_in_redis_is_found_although_postgresql_is_right(mixed):
    lessons(mixed, 1)
    shown = mixed.redis.keys("ql:*:u:t1:ada")[0]
    stale = mixed.redis.hgetall(shown)
    lessons(mixed, 2)
    flushed = mixed.redis.hget(shown, "@flushed")
    mixed.redis.hset(shown, mapping={**stale, "@flushed": flushed})
    assert audit(mixed).differences == []
    assert progress(mixed) == (1, 3)

    report = reconcile(mixed)

    assert "progress in Redis" in {difference.what for difference in report.differences}
    assert report.is_right
    assert progress(mixed) == (3, 3)


def test_a_flush_that_read_before_the_repair_does_not_bring_the_old_state_back(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)
    mixed.redis.flushall()
    mixed.flusher.flush()
    mixed.post(mixed.event("lesson", "ada"))  # on the wrong row
    under_way = list(mixed.flusher._groups())

    assert reconcile(mixed).is_right
    for group in under_way:
        mixed.flusher._commit(group)
    mixed.flusher.flush()

    assert progress(mixed) == (4, 4)
    assert audit(mixed).differences == []


@pytest.mark.parametrize("is_cold", [False, True])
def test_an_event_that_arrives_during_the_repair_is_not_lost(mixed, is_cold):
    lessons(mixed, 2)
    sql(mixed, WRONG)
    mixed.redis.flushall()
    lessons(mixed, 1)  # which loads the wrong row
    if is_cold:
        mixed.redis.flushall()

    report = reconcile(mixed, event=lambda: mixed.post(mixed.event("lesson", "ada")), times=2)

    assert (report.users_repaired, report.left) == (1, [])
    assert progress(mixed) == (5, 5)
    assert audit(mixed).differences == []


def test_an_event_and_its_flush_during_the_repair_are_not_lost_either(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)

    assert reconcile(mixed, event=lambda: lessons(mixed, 1), times=1).is_right
    assert progress(mixed) == (4, 4)


def test_events_that_touch_no_row_are_noticed_too(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)
    repeated = mixed.event("nothing-counts-this", "ada", event_id="once")

    assert reconcile(mixed, event=lambda: mixed.post(repeated), times=1).is_right
    before = mixed.count("events")
    mixed.post(repeated)
    mixed.flusher.flush()
    assert mixed.count("events") == before


def test_a_user_who_never_rests_is_left_and_said_so(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)
    mixed.redis.flushall()

    report = reconcile(mixed, event=lambda: mixed.post(mixed.event("lesson", "ada")), times=ATTEMPTS)

    assert [left.reason for left in report.left] == [BUSY]
    assert reconcile(mixed).is_right


def test_a_user_who_does_not_rest_in_the_second_look_does_not_count_as_repaired(mixed, monkeypatch):
    lessons(mixed, 5)
    sql(mixed, "UPDATE unlocks SET goal_id = 'fast' WHERE goal_id = 'lessons'")
    looks = [False]
    monkeypatch.setattr(Examiner, "has_changed", lambda *_: looks.pop() if looks else True)
    report = reconcile(mixed)
    assert [left.reason for left in report.left] == [BUSY]
    assert report.users_repaired == 0


def test_changes_that_wait_for_the_flush_are_no_fault(mixed):
    lessons(mixed, 1)
    mixed.post(*(mixed.event("lesson", "ada") for _ in range(4)))

    assert reconcile(mixed).users_differing == 0
    assert progress(mixed) == (5, 1)


def test_a_load_under_way_cannot_put_the_wrong_rows_back(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)
    mixed.redis.flushall()
    mixed.catch_up(None)
    (batch,) = mixed.accept(mixed.event("lesson", "ada"))
    events = unpack_batch(batch.packed)
    [plan] = mixed.applier.evaluator._requests(batch.shard, events, batch.packed, [batch.batch_id], may_ask=True)
    cold = mixed.records.apply(batch.shard, [batch.batch_id], plan, now_us=mixed.clock()).cold
    stale = mixed.reader.snapshots([("t1", "ada")], now_us=mixed.clock())

    assert reconcile(mixed).is_right

    assert mixed.records.load(batch.shard, [(cold[0].token, stale[0])], now_us=mixed.clock()) == 0
    mixed.apply(batch)
    mixed.flusher.flush()
    assert progress(mixed) == (4, 4)


def test_a_user_whose_events_postgresql_refused_is_left_until_they_are_dealt_with(mixed):
    lessons(mixed, 2)
    sql(mixed, "DELETE FROM events WHERE event_id = (SELECT min(event_id) FROM events)")
    mixed.writer.store_dead_letters([DeadLetter("event", "refused_by_postgresql", "?", b"", ["e"], "t1", "ada")])

    report = reconcile(mixed)

    assert [left.reason for left in report.left] == [DEAD_EVENTS]
    assert progress(mixed) == (2, 2)
    sql(mixed, "DELETE FROM dead_letters")
    assert reconcile(mixed).is_right
    assert progress(mixed) == (1, 1)


def test_a_version_beyond_all_that_was_drawn_is_left_and_said_so(mixed):
    lessons(mixed, 3)
    sql(mixed, "UPDATE user_goal_progress SET progress = 1, stamp = 9223372036854775807")

    assert [left.reason for left in reconcile(mixed).left] == [UNKNOWN_VERSION]
    sql(mixed, "DELETE FROM user_goal_progress")
    assert reconcile(mixed).is_right


def test_a_dry_run_says_the_same_and_changes_nothing(mixed):
    lessons(mixed, 3)
    sql(mixed, WRONG)

    dry = reconcile(mixed, dry_run=True)

    assert (dry.users_differing, dry.users_repaired, dry.is_right) == (1, 0, False)
    assert mixed.rows("ada")["lessons", ""][0] == 1
    assert reconcile(mixed).differences == dry.differences


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_to_a_mixed_load_it_is_right_again_and_stays_so(mixed, seed):
    random = Random(seed)
    plan = plan_of(900, 12)
    events = events_of(plan)
    for at in range(0, len(events) // 2, 60):
        mixed.post(*events[at : at + 60])
        mixed.flusher.flush()
    for _ in range(12):
        column = random.choice(["state = '[1]'", "progress = 1", "is_part = NOT is_part", "rule_version = 2"])
        which = f"ctid IN (SELECT ctid FROM user_goal_progress ORDER BY md5(goal_id || '{random.random()}') LIMIT 3)"
        sql(mixed, f"UPDATE user_goal_progress SET {column} WHERE {which}")
        sql(mixed, f"DELETE FROM user_goal_progress WHERE {which.replace('LIMIT 3', 'LIMIT 1')}")
    sql(mixed, "DELETE FROM unlocks WHERE goal_id IN ('level', 'any')")
    for key in random.sample(mixed.redis.keys("ql:*:u:*"), 4):
        mixed.redis.delete(key)

    assert reconcile(mixed).is_right
    assert audit(mixed).differences == []

    for at in range(0, len(events), 60):  # the rest, and the first half again
        mixed.post(*events[at : at + 60])
    mixed.flusher.flush()
    assert audit(mixed).differences == []
    assert mixed.count("events") == plan.distinct
    assert reconcile(mixed).users_differing == 0

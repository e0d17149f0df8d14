"""No event is judged by rules that were not those of its time, however late a worker learns of them (promise P14)."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from models.database.connection import connect_database
from models.database.rules.publication_lock import publishing, stable_revision
from models.database.rules.publisher import PICK_UP_US, Document, Publisher
from models.errors import DatabaseUnavailableError, HistoryChangedError, RulesOutdatedError, StateUnavailableError
from models.failpoints import now_us
from models.rules.costs import Cost
from models.state.connection import connect_state
from models.state.fleet.fences import Fences, revision_of
from models.state.keys import shard_keys
from models.state.progress.apply_request import make_request
from tasks.rules.costs import CostBound
from tasks.rules.publications import CurrentRules, PublicationsWatcher, parse_stored
from tasks.rules.source import RuleSource, rule_source
from tests.conftest import empty_tables, examples
from tests.support.backups import StateBackup
from tests.support.environment import database_settings
from tests.support.journal import journaled_batches
from tests.support.publication import leave_to_text, newest_revision, publish
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, Stack

WEEK_US = 7 * 86_400_000_000
BOUND = CostBound(Cost(1_000, 1 << 20), WEEK_US)


def rules(target, *more):
    """A challenges file: so many logins, and other goals."""
    goals = [{"id": name, "name": name, "rule": {"op": "count", "event": "login", "target": target}} for name in more]
    logins = {"id": "logins", "name": "logins", "rule": {"op": "count", "event": "login", "target": target}}
    content = json.dumps({"challenges": [{"id": "c", "goals": [logins, *goals]}]}).encode()
    return Document(content, parse_stored(content), "rules.json")


@dataclass
class Installation:
    """Servers with rules, and a worker that reads them when it is asked to."""

    stack: Stack
    fences: Fences
    source: RuleSource
    watcher: PublicationsWatcher = field(init=False)
    rules: CurrentRules = field(init=False)

    def __post_init__(self):
        self.watcher = PublicationsWatcher(self.source)
        self.rules = CurrentRules(self.watcher, self.stack.retries, lateness_us=WEEK_US)
        self.take_over()

    def take_over(self):
        """Apply by the rules that this worker knows."""
        self.stack.evaluator = replace(self.stack.evaluator, rules=self.rules)
        self.stack.applier = replace(self.stack.applier, evaluator=self.stack.evaluator)

    def publish(self, document):
        return Publisher(self.stack.engine, self.fences).publish(document, now_us=now_us())

    def fence(self, shard=0) -> int | None:
        return revision_of(self.fences.read()[shard])

    def revisions(self) -> list[Any]:
        """By which publication each event was judged, in the order of applying."""
        self.stack.flusher.flush()
        with self.stack.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT rules_revision FROM events ORDER BY stamp, event_id").all()
        return [revision for (revision,) in found]


@pytest.fixture
def installation(stack):
    """An installation whose first rules are published, at work."""
    stack.redis.flushall()
    stack.clock.now = now_us()
    fences = Fences(stack.redis, SHARDS)
    made = Installation(stack, fences, RuleSource(stack.engine, fences, rules(3), now_us, BOUND))
    made.watcher.current()
    stack.post(stack.event("login"))
    return made


def test_a_worker_that_has_not_read_a_publication_reads_it_before_it_applies(installation):
    stack = installation.stack
    installation.publish(rules(5, "new"))
    assert stack.evaluator.rules.matcher().publications.newest.revision == 1
    stack.clock.now = now_us() + PICK_UP_US + 1
    stack.post(stack.event("login"), stack.event("login"))
    assert stack.progress() == {("logins", ""): (3, False), ("new", ""): (2, False)}
    assert installation.revisions() == [1, 2, 2]
    assert stack.count("dead_letters") == 0


def test_the_script_refuses_older_rules_before_it_writes_anything(installation):
    stack = installation.stack
    known = stack.evaluator.rules.matcher()
    installation.publish(rules(5))
    before = {key: stack.redis.dump(key) for key in stack.redis.scan_iter()}
    event = stack.event("login")
    request = make_request(known, [event], stack.batches(event)[0].packed)
    with pytest.raises(RulesOutdatedError) as refused:
        stack.records.apply(stack.batches(event)[0].shard, [], request, now_us=stack.clock())
    assert refused.value.revision == 2
    assert {key: stack.redis.dump(key) for key in stack.redis.scan_iter()} == before


def test_a_redis_without_fences_is_filled_from_postgresql_before_anything_is_applied(installation):
    stack = installation.stack
    stack.flusher.flush()
    publish(stack.engine, rules(5), now_us=now_us() - 2 * PICK_UP_US)  # as a release without fences does
    stack.redis.flushall()
    stack.post(stack.event("login"))
    assert [installation.fence(shard) for shard in range(SHARDS)] == [2] * SHARDS
    assert installation.revisions() == [1, 2]


def test_the_fences_are_put_right_without_an_event(installation):
    publish(installation.stack.engine, rules(5), now_us=now_us())
    installation.stack.redis.delete(*(shard_keys(shard).fence for shard in range(SHARDS)))
    installation.source.align_fences()
    assert installation.fence() == 2


@pytest.mark.parametrize("aligned", [False, True])
def test_a_redis_of_before_a_publication_is_behind_though_nothing_was_flushed_since(installation, aligned):
    stack = installation.stack
    stack.flusher.flush()
    older = StateBackup(stack.redis)
    installation.publish(rules(5, "new"))
    older.restore()
    stack.clock.now = now_us() + PICK_UP_US + 1
    stack.post(stack.event("login"), stack.event("login"))  # by a worker that has not learnt of it
    if aligned:
        installation.source.align_fences()
    stack.flusher.flush()
    assert installation.revisions() == [1, 2, 2]
    assert stack.progress() == {("logins", ""): (3, False), ("new", ""): (2, False)}


def test_a_flush_that_read_a_redis_of_before_a_publication_writes_nothing(installation, monkeypatch):
    stack = installation.stack
    stack.flusher.flush()
    older = StateBackup(stack.redis)
    installation.publish(rules(5, "new"))
    stack.clock.now = now_us() + PICK_UP_US + 1
    events = [stack.event("login"), stack.event("login")]

    def goes_back():
        monkeypatch.undo()
        older.restore()
        stack.post(*events)

    monkeypatch.setattr(type(stack.watch), "check", lambda _watch: goes_back())
    with pytest.raises(HistoryChangedError):
        stack.flusher.flush()
    assert installation.revisions() == [1, 2, 2]


def test_a_publication_is_nowhere_when_its_publisher_dies_between_fence_and_commit(installation):
    stack = installation.stack

    class Dying(Fences):
        def raise_to(self, revision):
            super().raise_to(revision)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Publisher(stack.engine, Dying(stack.redis, SHARDS)).publish(rules(5), now_us=now_us())
    assert (installation.fence(), newest_revision(stack.engine)) == (2, 1)
    stack.post(stack.event("login"))
    assert (installation.fence(), installation.revisions()) == (1, [1, 1])


def test_a_worker_waits_for_a_publisher_that_is_alive(installation):
    stack, raised, commit = installation.stack, threading.Event(), threading.Event()

    class Slow(Fences):
        def raise_to(self, revision):
            at = super().raise_to(revision)
            raised.set()
            assert commit.wait(10)
            return at

    publisher = Publisher(stack.engine, Slow(stack.redis, SHARDS))
    thread = threading.Thread(target=publisher.publish, args=(rules(5),), kwargs={"now_us": now_us()})
    thread.start()
    assert raised.wait(10)
    worker = threading.Thread(target=stack.post, args=(stack.event("login"),))
    worker.start()
    with stack.engine.connect() as watching:
        wait_until(lambda: _waiting(watching) == 1)
    commit.set()
    thread.join(10)
    worker.join(10)
    assert (installation.fence(), installation.revisions()) == (2, [1, 2])


def _waiting(connection):
    """How many wait for the publisher."""
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    waiting = connection.exec_driver_sql(asked).scalar_one()
    connection.rollback()
    return waiting


def test_a_publisher_that_stands_still_loses_its_transaction(installation, monkeypatch):
    stack = installation.stack
    monkeypatch.setattr("models.database.rules.publication_lock.LONGEST_PAUSE_MS", 300)
    with pytest.raises(DatabaseUnavailableError), publishing(stack.engine) as connection:  # noqa: PT012 - one story
        installation.fences.raise_to(2)
        worker = threading.Thread(target=stack.post, args=(stack.event("login"),))
        worker.start()
        worker.join(10)
        assert not worker.is_alive()
        connection.exec_driver_sql("SELECT 1")
    assert (installation.fence(), installation.revisions()) == (1, [1, 1])


def test_a_fence_that_another_publisher_has_raised_since_is_left_alone(installation):
    """A worker whose answer from PostgreSQL is old by now, and whose lock is gone with its connection."""
    fences = installation.fences
    fences.raise_to(2)  # its publisher died
    seen = fences.read()
    fences.raise_to(2)  # another one is about to commit
    assert fences.align(seen, 1) == 0
    assert installation.fence() == 2


def test_what_is_no_fence_is_replaced(installation):
    stack = installation.stack
    for shard in range(SHARDS):
        stack.redis.set(shard_keys(shard).fence, "nonsense")
    stack.post(stack.event("login"))
    assert installation.fence() == 1


def test_a_postgresql_that_was_restored_to_older_rules_lowers_the_fences_and_newer_ones_hold_again(installation):
    stack = installation.stack
    installation.publish(rules(5))
    stack.post(stack.event("login"))
    _forget_newest(stack.engine)  # as a restore does
    installation.watcher.refresh()
    stack.post(stack.event("login"))
    assert installation.fence() == 1
    installation.publish(rules(7, "other"))
    assert installation.fence() == 2
    stack.post(stack.event("login"))
    assert installation.revisions() == [1, 2, 1, 2]


def _forget_newest(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM rule_versions WHERE revision = 2")
        connection.exec_driver_sql("DELETE FROM rule_publications WHERE revision = 2")


def test_a_publication_of_the_same_number_is_read_anew_after_a_restore(installation):
    installation.publish(rules(5))
    installation.watcher.refresh()
    _forget_newest(installation.stack.engine)
    installation.publish(rules(6, "other"))
    installation.watcher.refresh()
    assert "other" in installation.watcher.current().newest.rulebook.by_id


def test_with_postgresql_away_events_wait_without_an_attempt_and_count_when_it_is_back(installation):
    stack = installation.stack
    installation.publish(rules(5))
    source, away = installation.source, connect_database("postgresql://nobody:x@127.0.0.1:1/none")
    source._engine, there = away, source._engine
    [batch] = stack.accept(stack.event("login"))
    stack.catch_up_work()
    for _ in range(5):
        stack.try_again()
    [work] = stack.returned()
    assert [taken.deliveries for taken in work[batch.shard]] == [2]
    assert stack.progress() == {("logins", ""): (1, False)}
    source._engine = there
    stack.apply(batch)
    assert (installation.revisions(), stack.count("dead_letters")) == ([1, 2], 0)


def test_events_of_rules_that_another_release_wrote_wait_and_others_do_not(installation):
    stack = installation.stack
    publish(
        stack.engine,
        Document(b"of a newer release", rules(5).rulebook, "rules.json"),
        now_us=now_us() - 10 * PICK_UP_US,
    )
    leave_to_text(stack.engine, newest_revision(stack.engine))
    installation.source.align_fences()
    installation.watcher.refresh()
    early = stack.event("login", "early", at=None)._replace(occurred_at=now_us() - 20 * PICK_UP_US)
    late = stack.event("login", "early")
    batches = [stack.accept(event)[0] for event in (late, early)]
    stack.apply(*batches)
    assert journaled_batches(stack.redis, SHARDS) == [batches[0]]
    assert stack.progress("early")[("logins", "")] == (1, False)
    assert stack.count("dead_letters") == 0


@contextmanager
def suspended(processes):
    """Processes that stand still, as those of a machine that is busy elsewhere."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_session_that_stands_still_is_given_up_and_another_one_asked(installation, settings_of):
    stack = installation.stack
    source = rule_source(settings_of(stack), stack.redis, rules(3), now_us)
    source.newest()
    with stack.engine.connect() as connection:
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'questline-rules'"
        sessions = [psutil.Process(pid) for (pid,) in connection.exec_driver_sql(asked)]
    assert sessions
    with suspended(sessions):
        began = monotonic()
        assert source.newest().revision == 1
        assert monotonic() - began < 15


@pytest.fixture
def settings_of(monkeypatch, direct_database_url):
    """Settings that name the servers of a stack, past a pooler: whose sessions are whose must be known."""
    for name, value in database_settings(direct_database_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHARDS", str(SHARDS))
    monkeypatch.setattr("tasks.rules.source.ANSWER_TIME", timedelta(milliseconds=500))
    return lambda _stack: Settings()


def test_a_fence_is_raised_everywhere_or_nothing_is_published(installation):
    stack = installation.stack
    away = Fences(connect_state("redis://127.0.0.1:1/0"), SHARDS)
    with pytest.raises(StateUnavailableError):
        Publisher(stack.engine, away).publish(rules(5), now_us=now_us())
    assert newest_revision(stack.engine) == 1


def test_a_publication_begins_after_its_fences_by_the_clock_of_redis(installation):
    stack = installation.stack
    behind = Publisher(stack.engine, installation.fences).publish(rules(5), now_us=now_us() - 3_600_000_000)
    assert behind is not None
    assert abs(behind.active_from - PICK_UP_US - now_us()) < 60_000_000


def test_only_one_holds_the_revision_while_none_is_published(installation):
    engine = installation.stack.engine
    with stable_revision(engine) as one, stable_revision(engine) as other:
        assert (one, other) == (1, 1)
    with publishing(engine), pytest.raises(DatabaseUnavailableError), stable_revision(engine):
        raise AssertionError


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish")),
        st.tuples(st.just("die")),
        st.tuples(st.just("forget fences"), st.integers(0, SHARDS - 1)),
        st.tuples(st.just("look"), st.integers(0, 1)),
        st.tuples(st.just("apply"), st.integers(0, 1), st.integers(0, 5)),
    ),
    max_size=14,
)


class _DiedError(Exception):
    """The end of a publisher."""


class _Deadly(Fences):
    def raise_to(self, revision):
        super().raise_to(revision)
        raise _DiedError


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whoever_learns_late_judges_by_all_that_was_published_before(redis, engine, steps):
    """Two workers, publishers that die between fence and commit, fences that are lost, in any order."""
    redis.flushall()
    empty_tables(engine)
    stack = Stack(redis, engine)
    stack.clock.now = now_us()
    fences = Fences(redis, SHARDS)
    publisher, deadly = Publisher(engine, fences), Publisher(engine, _Deadly(redis, SHARDS))
    workers = [Installation(stack, fences, RuleSource(engine, fences, rules(3), now_us, BOUND)) for _ in range(2)]
    for worker in workers:
        worker.watcher.current()
    published = 1
    for name, *which in steps:
        if name == "publish":
            published += 1
            publisher.publish(rules(3 + published), now_us=now_us())
        elif name == "die":
            with pytest.raises(_DiedError):
                deadly.publish(rules(99), now_us=now_us())
        elif name == "forget fences":
            redis.delete(shard_keys(which[0]).fence)
        elif name == "look":
            workers[which[0]].watcher.refresh()
        else:
            workers[which[0]].take_over()
            batch = stack.accept(stack.event("login", f"u{which[1]}"))[0]
            stack.apply(batch)
            assert stack.shard_log.read(batch.shard, 1000)[-1].revision == published
            assert journaled_batches(redis, SHARDS) == []

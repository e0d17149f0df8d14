"""The number of shards changes, and every event counts once, wherever the change is cut off."""

import json
from contextlib import suppress
from datetime import timedelta

import pytest

from cli.installation.changes import FlushDrain
from config.settings import Settings
from config.shards import shard_for
from config.shared_settings import shared_values
from models.database.fleet.installation import InstallationTable
from models.database.fleet.installation_lock import change_lock
from models.errors import Bound, DatabaseUnavailableError, JournalFullError, PermanentError
from models.fleet.installation import Change, Step, new_record
from models.installation.change import Changer
from models.installation.joining import shared
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts
from models.state.fleet.presence import Presence, ProcessFacts
from models.state.keys import layout_key, record_key, shard_keys
from models.state.queue.batches import Batch
from tests.support.backups import StateBackup
from tests.support.stack import SHARDS, Stack

pytestmark = pytest.mark.slow

USERS = [f"u{number}" for number in range(24)]


class Silent:
    """Nobody watches."""

    def draining(self, left):
        pass

    def forgetting(self, keys):
        pass

    def waiting(self, processes):
        pass


class CutOffError(Exception):
    """The command is killed here."""


class CuttingLock:
    """The lock of a command that is killed at its n-th look."""

    def __init__(self, after):
        self.left = after

    def check(self):
        if self.left == 0:
            raise CutOffError
        self.left -= 1


@pytest.fixture
def table(engine):
    return InstallationTable(engine)


@pytest.fixture
def copy(redis):
    return InstallationCopy(redis)


@pytest.fixture
def record(stack, table, copy):
    """The record of an installation of ``SHARDS`` shards."""
    written = table.create(new_record(shared_values(Settings(shards=SHARDS)), 1))
    copy.write(written)
    Layouts(stack.redis).follow(written)
    return written


def changer(stack, lock=None, *, patience_s=5.0, flush=None):
    drain = FlushDrain(stack.parts, stack.flusher)
    if flush is not None:
        drain.flush = flush  # type: ignore[method-assign]
    return Changer(
        table=InstallationTable(stack.engine),
        copy=InstallationCopy(stack.redis),
        layouts=Layouts(stack.redis),
        presence=Presence(stack.redis),
        drain=drain,
        lock=lock or CuttingLock(-1),
        progress=Silent(),
        patience_s=patience_s,
    )


def resized(stack, shards):
    """The stack after its processes have started again by another number."""
    return Stack(stack.redis, stack.engine, clock=stack.clock, shards=shards)


def logins(stack, run, users=USERS):
    return [stack.event("login", user, event_id=f"{run}-{user}") for user in users]


def counts(stack):
    return {stack.progress(user).get(("logins", ""), (None,))[0] for user in USERS}


@pytest.mark.parametrize("shards", [7, 3, 1])
def test_every_event_counts_once_before_and_after(stack, record, table, copy, shards):
    first = logins(stack, "a")
    stack.post(*first)
    report = changer(stack).resize({"SHARDS": str(shards)})
    assert (report.before["SHARDS"], report.after["SHARDS"]) == (str(SHARDS), str(shards))
    assert table.read() == copy.read()
    after = resized(stack, shards)
    after.post(*logins(after, "b"), *first)  # those of before come again
    assert counts(after) == {2}
    after.flusher.flush()
    assert after.count("events") == 2 * len(USERS)
    assert {after.rows(user)[("logins", "")][0] for user in USERS} == {2}


def test_there_and_back_finds_nothing_old(stack, record):
    stack.post(*logins(stack, "a"))
    changer(stack).resize({"SHARDS": "7"})
    more = resized(stack, 7)
    more.post(*logins(more, "b"))
    changer(more).resize({"SHARDS": str(SHARDS)})
    stack.post(*logins(stack, "c"))
    assert counts(stack) == {3}


def test_what_a_redis_of_before_a_smaller_number_brings_back_stops_no_later_change(stack, record, table, copy):
    first = logins(stack, "a")
    stack.post(*first)
    before = StateBackup(stack.redis)
    changer(stack).resize({"SHARDS": "2"})
    before.restore()
    newest = copy.write(table.read())
    Layouts(stack.redis).follow(newest)
    fewer = resized(stack, 2)
    fewer.flusher.flush()
    changer(fewer, patience_s=1.0).resize({"SHARDS": str(SHARDS)})
    stack.flusher.flush()
    stack.post(*logins(stack, "b"), *first)
    stack.flusher.flush()
    assert (counts(stack), stack.count("events")) == ({2}, 2 * len(USERS))


def test_redis_forgets_users_and_nothing_else(stack, record):
    stack.post(*logins(stack, "a"))
    stack.redis.set("of others", "x")
    report = changer(stack).resize({"SHARDS": "7"})
    assert report.keys_dropped >= 2 * len(USERS)
    assert not [key for key in stack.redis.scan_iter() if b":u:" in key or b":seen:" in key or b":attr:" in key]
    assert stack.redis.get("of others") == b"x"


@pytest.mark.parametrize("after", range(8))
def test_cut_off_anywhere_the_same_command_goes_on(stack, record, table, copy, after):
    first = logins(stack, "a")
    stack.post(*first)
    with suppress(CutOffError):  # the last ones come to the end
        changer(stack, CuttingLock(after)).resize({"SHARDS": "7"})
    assert changer(stack).resize({"SHARDS": "7"}).after["SHARDS"] == "7"
    assert table.read() == copy.read()
    assert table.read().change is None
    seven = resized(stack, 7)
    seven.post(*logins(seven, "b"), *first)
    assert counts(seven) == {2}


def test_nothing_is_taken_while_it_changes(stack, record):
    changing = record.changed({}, Change({"SHARDS": "7"}, Step.DRAINING))
    Layouts(stack.redis).follow(changing)
    batches = [batch._replace(shards=SHARDS) for batch in stack.batches(*logins(stack, "a"))]
    assert set(stack.journal.append(batches, stack.clock() // 1000).full.values()) == {Bound.LAYOUT}
    assert "some seconds" in str(JournalFullError(Bound.LAYOUT))
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 0


def test_a_receiver_of_another_number_adds_nothing(stack, record):
    wrong = Batch(1, "a", b"x", shards=8)
    assert stack.journal.append([wrong], 1).full == {1: Bound.LAYOUT}
    assert stack.journal.append([wrong._replace(shards=SHARDS)], 1).full == {}
    assert stack.journal.append([wrong._replace(batch_id="b", shards=0)], 1).full == {}


def test_a_layout_of_an_earlier_revision_is_not_taken(stack, record):
    Layouts(stack.redis).follow(record.changed({"SHARDS": "7"}))
    Layouts(stack.redis).follow(record)
    assert stack.redis.hget(layout_key(1), "shards") == b"7"


def test_a_batch_in_a_shard_of_other_users_is_put_where_it_belongs(stack):
    users = [user for user in USERS if shard_for("t1", user, SHARDS) != 0]
    strays = stack.batches(*logins(stack, "a", users))
    wrong = [batch._replace(shard=0) for batch in strays]
    stack.journal.append(wrong, stack.clock() // 1000)
    stack.catch_up_work()
    assert {stack.progress(user)[("logins", "")][0] for user in users} == {1}
    assert not stack.redis.exists(*(record_key(0, f"t1:{user}") for user in users))
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 0


def test_a_stray_batch_waits_where_its_place_takes_nothing(stack, record):
    (user,) = [user for user in USERS if shard_for("t1", user, SHARDS) == 2][:1]
    (batch,) = stack.batches(*logins(stack, "a", [user]))
    stack.journal.append([batch._replace(shard=0)], stack.clock() // 1000)
    Layouts(stack.redis).follow(record.changed({}, Change({"SHARDS": "7"}, Step.DRAINING)))
    stack.apply(batch._replace(shard=0))
    assert stack.journal.states(SHARDS)[0].batches == 1
    assert stack.progress(user) == {}


def test_versions_go_on_above_those_of_all_shards(stack, record):
    stack.post(*logins(stack, "a"))
    stack.redis.set(shard_keys(1).record_version, 9 * 10**15)
    changer(stack).resize({"SHARDS": "7"})
    assert {int(stack.redis.get(shard_keys(shard).record_version)) for shard in range(7)} == {9 * 10**15}


def test_the_counts_of_the_fleet_stay(stack, record):
    stack.post(*logins(stack, "a"))
    changer(stack).resize({"SHARDS": "2"})
    assert sum(int(stack.redis.hget(shard_keys(shard).counts, "applied") or 0) for shard in range(2)) == len(USERS)
    assert not stack.redis.exists(*(shard_keys(shard).counts for shard in range(2, SHARDS)))


def test_what_keeps_waiting_ends_it_and_opens_again(stack, record, table):
    stack.accept(*logins(stack, "a"))  # and no worker takes them
    with pytest.raises(PermanentError, match=r"nothing was changed: .* still wait"):
        changer(stack, patience_s=0.3).resize({"SHARDS": "7"})
    assert table.read().values["SHARDS"] == str(SHARDS)
    assert table.read().change is None
    assert stack.redis.hget(layout_key(0), "shards") == str(SHARDS).encode()


def test_a_postgres_that_is_away_is_named(stack, record):
    stack.accept(*logins(stack, "a"))

    def away():
        raise DatabaseUnavailableError("PostgreSQL did not answer")

    with pytest.raises(PermanentError, match="PostgreSQL did not answer"):
        changer(stack, patience_s=0.3, flush=away).resize({"SHARDS": "7"})


def test_a_cut_off_change_may_be_given_up_until_it_holds(stack, record, table):
    with pytest.raises(CutOffError):
        changer(stack, CuttingLock(1)).resize({"SHARDS": "7"})
    assert table.read().change == Change({"SHARDS": "7"}, Step.DRAINING)
    with pytest.raises(PermanentError, match="a change to SHARDS=7 is under way"):
        changer(stack).resize({"SHARDS": "9"})
    assert changer(stack).give_up().values["SHARDS"] == str(SHARDS)
    with pytest.raises(CutOffError):
        changer(stack, CuttingLock(2)).resize({"SHARDS": "7"})
    with pytest.raises(PermanentError, match="hold already"):
        changer(stack).give_up()


def test_it_waits_for_the_processes_of_before(stack, record):
    presence, seen = Presence(stack.redis), []
    presence.note(ProcessFacts("old", "worker", "1.0", 1, record.values))

    class Watching(Silent):
        def waiting(self, processes):
            seen.append(processes)
            presence.leave("old")

    change = changer(stack)
    change.progress = Watching()
    change.resize({"SHARDS": "7"})
    assert seen == [1, 0]


def test_one_command_at_a_time(engine):
    with change_lock(engine) as lock:
        lock.check()
        with pytest.raises(PermanentError, match="another command"), change_lock(engine):
            pass
    with change_lock(engine):
        pass


@pytest.fixture
def joined(stack, record, tmp_path):
    """An installation whose Redis is the commands' too."""


def test_the_command_says_what_it_did(joined, quietly, stack, table):
    stack.post(*logins(stack, "a"))
    done = quietly("shards")("resize", "7", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["before"]["SHARDS"], said["after"]["SHARDS"], said["resumed"]) == (str(SHARDS), "7", False)
    assert table.read().values["SHARDS"] == "7"
    again = quietly("shards")("resize", "7")
    assert "nothing to do" in again.stdout
    assert "7 shards" in quietly("shards")("give-up").stdout


@pytest.mark.parametrize("verb", ["reconcile", "recover"])
def test_nothing_else_writes_records_meanwhile(quietly, record, table, verb):
    changing = record.changed({}, Change({"SHARDS": "7"}, Step.DRAINING))
    assert table.replace(changing, over=record.revision)
    assert "is under way" in str(quietly(verb)().exception)


@pytest.mark.usefixtures("joined", "quietly")
def test_an_environment_of_before_does_not_get_into_the_answer_of_a_command(stack, capsys):
    changer(stack).resize({"SHARDS": "7"})
    capsys.readouterr()
    assert shared(Settings(shards=SHARDS)).shards == 7
    assert capsys.readouterr().out == ""


def test_settings_are_shown_and_set(joined, quietly, table):
    settings = quietly("settings")
    assert "SHARDS" in settings("show").stdout
    assert json.loads(settings("set", "record_ttl", "2h", "--json").stdout) == {
        "name": "RECORD_TTL", "value": "2h", "before": "1d"
    }  # fmt: skip
    assert table.read().former["RECORD_TTL"] == ("1d",)
    assert "RECORD_TTL       2h          before: 1d" in settings("show").stdout
    assert json.loads(settings("show", "--json").stdout)["values"]["RECORD_TTL"] == "2h"


def test_what_drops_events_wants_a_yes(joined, quietly, table):
    settings = quietly("settings")
    refused = settings("set", "EVENT_RETENTION", "40d")
    assert "add --yes" in str(refused.exception)
    assert settings("set", "EVENT_RETENTION", "40d", "--yes").exit_code == 0
    assert settings("set", "EVENT_RETENTION", "50d").exit_code == 0
    assert "at least 16d" in str(settings("set", "EVENT_RETENTION", "3d", "--yes").exception)
    assert settings("set", "EVENT_RETENTION", "off").exit_code == 0
    assert table.read().values["EVENT_RETENTION"] == ""


def test_the_lateness_is_lowered_only_while_nothing_runs(joined, quietly, stack, table, record):
    settings, presence = quietly("settings"), Presence(stack.redis)
    assert "cannot be raised" in str(settings("set", "MAX_LATENESS", "9d").exception)
    presence.note(ProcessFacts("worker@a:1", "worker", "1.0", 1, record.values))
    assert "1 processes run, such as worker@a:1" in str(settings("set", "MAX_LATENESS", "3d").exception)
    presence.leave("worker@a:1")
    event = stack.event("login", event_id="x")
    stack.post(event)
    assert settings("set", "MAX_LATENESS", "3d").exit_code == 0
    shorter = Stack(stack.redis, stack.engine, clock=stack.clock, window=timedelta(days=3))
    shorter.post(event, stack.event("login", event_id="y"))
    assert shorter.progress()[("logins", "")][0] == 2
    assert table.read().values["MAX_LATENESS"] == "3d"


def test_a_lateness_whose_change_was_cut_off_is_finished_by_the_same_command(joined, quietly, table, record):
    settings = quietly("settings")
    switching = record.changed({"MAX_LATENESS": "3d"}, Change({"MAX_LATENESS": "3d"}, Step.SWITCHING))
    assert table.replace(switching, over=record.revision)
    assert "give the same command again" in str(quietly("shards")("give-up").exception)
    assert settings("set", "MAX_LATENESS", "3d").exit_code == 0
    assert table.read().change is None
    assert settings("set", "MAX_LATENESS", "3d").exit_code == 0


def test_other_names_are_refused(joined, quietly):
    settings = quietly("settings")
    assert settings("set", "HTTP_PORT", "1").exit_code == 2
    assert "shards resize 9" in str(settings("set", "SHARDS", "9").exception)


def test_redis_that_goes_back_to_before_there_and_back_is_behind(stack, record):
    stack.post(*logins(stack, "a"))
    stack.flusher.flush()
    older = StateBackup(stack.redis)
    changer(stack).resize({"SHARDS": "1"})
    more = resized(stack, 1)
    moved = [user for user in USERS if shard_for("t1", user, SHARDS) > 0]
    more.post(*logins(more, "b", moved))
    more.flusher.flush()
    changer(more).resize({"SHARDS": str(SHARDS)})
    older.restore()
    stack.flusher.flush()
    stack.post(*logins(stack, "c", moved))
    assert {stack.progress(user)[("logins", "")][0] for user in moved} == {3}


def test_redis_that_goes_back_to_before_a_shorter_lateness_knows_ids(stack, record):
    first = logins(stack, "a")
    stack.post(*first)
    stack.flusher.flush()
    older = StateBackup(stack.redis)
    changer(stack).resize({"MAX_LATENESS": "3d"})
    older.restore()
    shorter = Stack(stack.redis, stack.engine, clock=stack.clock, window=timedelta(days=3))
    shorter.flusher.flush()
    shorter.post(*first)
    assert counts(shorter) == {1}

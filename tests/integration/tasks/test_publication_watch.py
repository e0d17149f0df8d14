"""How processes pick publications up, and which versions they know (P9)."""

import threading
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from models.database.connection import connect_database
from models.database.rules.publications import load, newest_publication
from models.errors import ConfigurationError, DatabaseUnavailableError
from models.rules.goals import Rulebook
from models.rules.matcher import Matcher
from models.rules.rule import Condition
from tasks.rules.publications import PublicationsWatcher
from tests.support.publication import publish
from tests.support.rule_files import (
    HOUR,
    LOGINS,
    MINUTES,
    NOW,
    Files,
    publish_new,
    versions_of,
    with_target,
)
from tests.support.servers import wait_until


@dataclass
class Source:
    """What a PostgreSQL holds, for a watcher."""

    engine: Engine
    files: Files
    loads: int = 0

    def newest(self):
        found = newest_publication(self.engine)
        if found is None:
            raise ConfigurationError("nothing was published")
        return found

    def load(self):
        self.loads += 1
        return load(self.engine, self.files.parse, since_us=NOW)

    def align_fences(self):
        raise AssertionError("no fence asked for it")


def test_a_watcher_picks_up_a_publication_without_being_asked(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    watcher = PublicationsWatcher(Source(engine, files), interval=0.01)
    assert watcher.current().newest.revision == 1
    watcher.start()
    try:
        publish(engine, files.file(with_target(LOGINS, 4)), now_us=NOW)
        waited = threading.Event()
        while watcher.current().newest.revision == 1 and not waited.wait(0.01):
            pass
        assert versions_of(watcher.current()) == [(1, {"logins": 1}), (2, {"logins": 2})]
    finally:
        watcher.stop()


def test_a_watcher_asks_only_once_for_what_it_knows(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    source = Source(engine, files)
    watcher = PublicationsWatcher(source)
    assert watcher.current() is watcher.current()
    watcher.refresh()
    assert source.loads == 1


def test_without_postgresql_a_watcher_keeps_what_it_has_and_says_when_it_has_nothing(engine, files):
    away = connect_database("postgresql://nobody:x@127.0.0.1:1/none")
    publish(engine, files.file(LOGINS), now_us=NOW)
    source = Source(away, files)
    watcher = PublicationsWatcher(source, interval=0.01)
    with pytest.raises(DatabaseUnavailableError):
        watcher.current()
    source.engine = engine
    known = watcher.current()
    source.engine = away
    with pytest.raises(DatabaseUnavailableError):
        watcher.refresh()
    watcher.start()
    assert watcher.current() is known
    watcher.stop()


def test_a_published_version_means_what_it_meant_though_a_release_reads_its_file_otherwise(engine, files):
    document = files.file(LOGINS, MINUTES)
    publish(engine, document, now_us=NOW)
    stricter = replace(LOGINS, rule=replace(LOGINS.rule, where=(Condition("value", ">=", 0),)))
    files.known[document.content] = Rulebook((stricter, MINUTES))  # as the next release reads the same bytes

    known = load(engine, files.parse, since_us=NOW)
    assert [goal.rule for goal in known.newest.rulebook.goals] == [LOGINS.rule, MINUTES.rule]

    publish(engine, files.file(stricter, MINUTES), now_us=NOW)
    known = load(engine, files.parse, since_us=NOW)
    assert [goal.rule for goal in known.items[0].rulebook.goals] == [LOGINS.rule, MINUTES.rule]
    assert [goal.rule for goal in known.newest.rulebook.goals] == [stricter.rule, MINUTES.rule]
    assert [goal.version for goal in known.newest.rulebook.goals] == [2, 1]


def test_why_rules_are_not_read_is_said_once_and_again_after_they_were(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    source = Source(engine, files)
    watcher = PublicationsWatcher(source, interval=0.01)
    watcher.current()
    with capture_logs() as logs:
        source.engine = connect_database("postgresql://nobody:x@127.0.0.1:1/none")
        watcher.start()

        def said():
            return [line for line in logs if line["event"] == "rules_not_read" and line["log_level"] == "warning"]

        wait_until(said)
        source.engine = engine
        publish(engine, files.file(with_target(LOGINS, 4)), now_us=NOW)
        wait_until(lambda: watcher.current().newest.revision == 2)
        assert len(said()) == 1
        watcher.stop()


def test_the_version_that_users_stay_on_is_known_for_as_long_as_they_may(engine, files):
    first = files.file(LOGINS)
    stricter = files.file(replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather"))
    third = files.file(replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather"), MINUTES)
    for number, document in enumerate((first, stricter, third)):
        publish_new(engine, document, now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.rulebook.by_id["logins"].version for item in found.items] == [1, 2, 2]


def test_once_all_users_have_moved_on_only_what_events_may_fall_under_is_loaded(engine, files):
    stricter = replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather")
    last = replace(LOGINS, rule=replace(LOGINS.rule, target=6), on_change="restart")
    for number, goal in enumerate((LOGINS, stricter, last)):
        publish_new(engine, files.file(goal), now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.revision for item in found.items] == [3]


def test_the_version_before_is_known_however_long_ago_it_was(engine, files):
    """Else a user who comes back after a month would begin anew."""
    changed = [replace(LOGINS, rule=replace(LOGINS.rule, target=target)) for target in (3, 4, 5)]
    for number, goal in enumerate(changed):
        publish_new(engine, files.file(goal), now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.revision for item in found.items] == [1, 2, 3]
    node = Matcher(found).graphs[-1].by_id["logins"]
    assert (node.version, node.keeps_from) == (3, 1)

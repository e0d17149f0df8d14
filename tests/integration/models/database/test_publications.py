"""Publications of rules on a real PostgreSQL: versions, when they hold, and how processes pick them up (P9)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from models.database.connection import connect_database
from models.database.rules import publications
from models.database.rules.definitions import compiled_goal, rule_of
from models.database.rules.history import RuleHistory
from models.database.rules.publications import CompiledGoals, load, newest_publication
from models.database.rules.publisher import PICK_UP_US, Document, preview
from models.errors import ConfigurationError, DatabaseUnavailableError, InvalidChallengesError
from models.rules.calendar import microseconds
from models.rules.goals import Goal, Rulebook
from models.rules.matcher import Matcher
from models.rules.rule import Condition, Rule
from tasks.rules.publications import PublicationsWatcher, parse_stored
from tests.support.mixed_rules import document as mixed_document
from tests.support.publication import leave_to_text, newest_revision, publish
from tests.support.servers import wait_until

NOW = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))
HOUR = 3_600_000_000
LOGINS = Goal(goal_id="logins", challenge_id="c", name="Log in", rule=Rule(op="count", events=("login",), target=3))
MINUTES = Goal(goal_id="minutes", challenge_id="c", name="Train", rule=Rule(op="sum", events=("workout",), target=60))
CITIES = Goal(
    goal_id="cities",
    challenge_id="c",
    name="Travel",
    rule=Rule(op="distinct", events=("visit",), target=3, field="payload.city"),
)


class Files:
    """Challenges files by their content, as a parser would know them."""

    def __init__(self):
        self.known = {}

    def file(self, *goals):
        content = b"file %d" % len(self.known)
        self.known[content] = Rulebook(goals)
        return Document(content, self.known[content], "rules.json")

    def parse(self, content):
        if content not in self.known:
            raise InvalidChallengesError([f"{content!r}: cannot be read"])
        return self.known[content]


@pytest.fixture
def files():
    return Files()


def _publish(engine, document, **options):
    """Publish what is new."""
    done = publish(engine, document, **options)
    assert done is not None
    return done


def _target(goal, target, **changes):
    return replace(goal, rule=replace(goal.rule, target=target), **changes)


def _summary(published):
    return {goal.goal_id: (goal.version, goal.policy, goal.is_new) for goal in published.goals}


def _versions(publications):
    return [
        (item.revision, {goal.goal_id: goal.version for goal in item.rulebook.goals}) for item in publications.items
    ]


def test_the_first_publication_holds_for_all_events(engine, files):
    first = _publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert (first.revision, first.active_from) == (1, 0)
    assert _summary(first) == {"logins": (1, None, True), "minutes": (1, None, True)}
    assert newest_revision(engine) == 1


def test_only_a_changed_meaning_is_a_new_version(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    renamed = replace(MINUTES, name="Work out", description="new", reward={"gold": 1}, hidden=True)
    second = _publish(engine, files.file(_target(LOGINS, 4), renamed), now_us=NOW + HOUR)
    assert _summary(second) == {"logins": (2, "keep", True), "minutes": (1, None, False)}
    assert (second.revision, second.active_from) == (2, NOW + HOUR + PICK_UP_US)
    back = publish(engine, files.file(LOGINS, renamed), now_us=NOW + 2 * HOUR)
    assert _summary(back)["logins"] == (3, "keep", True)


def test_a_policy_is_what_it_comes_to(engine, files):
    goals = (LOGINS, MINUTES, CITIES)
    publish(engine, files.file(*goals), now_us=NOW)
    changed = files.file(
        _target(LOGINS, 5, on_change="grandfather"), _target(MINUTES, 9, on_change="restart"), _target(CITIES, 9)
    )
    assert {goal: policy for goal, (_, policy, _) in _summary(publish(engine, changed, now_us=NOW)).items()} == {
        "logins": "grandfather", "minutes": "restart", "cities": "restart",
    }  # fmt: skip


def test_a_goal_that_was_away_in_between_starts_anew_if_it_changed(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    without = _publish(engine, files.file(MINUTES), now_us=NOW)
    assert without.removed == ["logins"]
    same = preview(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert _summary(same)["logins"] == (1, None, False)
    other = publish(engine, files.file(_target(LOGINS, 9), MINUTES), now_us=NOW)
    assert _summary(other)["logins"] == (2, "restart", True)


def test_the_newest_file_is_not_published_again_but_an_older_one_is(engine, files):
    one, two = files.file(LOGINS), files.file(_target(LOGINS, 4))
    assert _publish(engine, one, now_us=NOW).revision == 1
    assert publish(engine, one, now_us=NOW) is None
    assert _publish(engine, two, now_us=NOW).revision == 2
    assert publish(engine, one, now_us=NOW, only_if_unseen=True) is None
    assert _publish(engine, one, now_us=NOW).revision == 3


def test_many_processes_that_start_at_once_publish_once(engine, files):
    document = files.file(LOGINS, MINUTES)
    with ThreadPoolExecutor(4) as starting:
        done = list(starting.map(lambda _: publish(engine, document, now_us=NOW, only_if_unseen=True), range(4)))
    assert sum(published is not None for published in done) == 1
    assert newest_revision(engine) == 1


def test_a_preview_writes_nothing(engine, files):
    document = files.file(LOGINS)
    assert _summary(preview(engine, document, now_us=NOW)) == {"logins": (1, None, True)}
    assert newest_revision(engine) == 0
    assert RuleHistory(engine).versions("logins") == []


def test_a_publication_may_be_set_ahead_and_the_next_never_overtakes_it(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    later = NOW + 24 * HOUR
    assert _publish(engine, files.file(_target(LOGINS, 4)), now_us=NOW, active_from=later).active_from == later
    assert _publish(engine, files.file(_target(LOGINS, 5)), now_us=NOW).active_from == later
    with pytest.raises(ConfigurationError, match=r"active_from: .* is too early, the earliest is 2026-11-22T12:00:00"):
        publish(engine, files.file(_target(LOGINS, 6)), now_us=NOW, active_from=NOW + HOUR)
    assert newest_revision(engine) == 3


def test_a_publication_cannot_hold_for_events_that_were_evaluated_already(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    with pytest.raises(ConfigurationError, match="too early"):
        publish(engine, files.file(_target(LOGINS, 4)), now_us=NOW, active_from=NOW)


def test_each_event_finds_the_publication_of_its_time(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    publish(engine, files.file(_target(LOGINS, 4), MINUTES), now_us=NOW + HOUR)
    publish(engine, files.file(_target(LOGINS, 5), MINUTES), now_us=NOW + 2 * HOUR)
    known = load(engine, files.parse, since_us=NOW)
    assert _versions(known) == [
        (1, {"logins": 1, "minutes": 1}), (2, {"logins": 2, "minutes": 1}), (3, {"logins": 3, "minutes": 1}),
    ]  # fmt: skip
    change = NOW + HOUR + PICK_UP_US
    assert known.at(change - 1).rulebook.by_id["logins"].target == 3
    assert known.at(change).rulebook.by_id["logins"].target == 4
    assert known.at(NOW + 9 * HOUR).rulebook.by_id["logins"].version == 3
    # Those that events may fall under, and the ones before, whose progress they keep.
    assert [number for number, _ in _versions(load(engine, files.parse, since_us=change))] == [1, 2, 3]
    assert [number for number, _ in _versions(load(engine, files.parse, since_us=NOW + 9 * HOUR))] == [1, 2, 3]


def test_a_version_keeps_the_policy_it_was_published_with(engine, files):
    publish(engine, files.file(LOGINS, CITIES), now_us=NOW)
    publish(engine, files.file(_target(LOGINS, 4, on_change="grandfather"), _target(CITIES, 4)), now_us=NOW)
    publish(engine, files.file(_target(LOGINS, 4, on_change="restart", name="x"), _target(CITIES, 4)), now_us=NOW)
    known = load(engine, files.parse, since_us=NOW)
    assert [item.rulebook.by_id["logins"].on_change for item in known.items[1:]] == ["grandfather", "grandfather"]
    assert known.newest.rulebook.by_id["cities"].on_change == "restart"


WHOLE_FILE = {
    "challenges": [
        {
            "id": "c",
            "goals": [
                {
                    "id": "all-of-it",
                    "name": "All of it",
                    "description": "Everything that a goal can say",
                    "rule": "count(lesson where payload.score >= 2.5 and source in ['app', 'web'] per week) >= 3",
                    "reward": {"zeta": 1.0, "alpha": [1e2, {"y": None, "b": True}]},
                    "prerequisites": ["run", "first"],
                    "active_from": "2026-01-01T00:00:00Z",
                    "active_until": "2027-01-01T00:00:00Z",
                    "segments": {"beta": True, "plan": ["pro", "team"]},
                    "hidden": True,
                    "secret": True,
                    "on_change": "grandfather",
                },
                {"id": "first", "rule": "any([streak(login, unit=day, timezone=user) >= 2, sum(steps) >= 0.5])"},
                {"id": "run", "type": "absolute", "event_source": "statistic:level", "requirement": {"target": 7}},
            ],
        }
    ]
}


@pytest.mark.parametrize(
    "content", [mixed_document(), Path("config/challenges.json").read_bytes(), orjson.dumps(WHOLE_FILE)]
)
def test_a_compiled_publication_is_what_its_text_says(engine, content):
    rulebook = parse_stored(content)
    publish(engine, Document(content, rulebook, "rules.json"), now_us=NOW)
    found = load(engine, _never, since_us=NOW).newest.rulebook
    assert found == rulebook
    assert repr(found) == repr(rulebook)  # 3 is not 3.0 in an answer, and rewards keep the order of their keys


def _never(content):
    raise AssertionError(f"{content!r} is parsed again")


def test_only_what_was_published_since_the_last_time_is_compiled(engine, files, monkeypatch):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    compiled: CompiledGoals = {}
    load(engine, _never, since_us=NOW, compiled=compiled)
    publish(engine, files.file(_target(LOGINS, 4), MINUTES), now_us=NOW)
    made = []

    def compile_it(*stored):
        made.append(stored[1])
        return compiled_goal(*stored)

    monkeypatch.setattr(publications, "compiled_goal", compile_it)
    found = load(engine, _never, since_us=NOW, compiled=compiled)
    assert made == ["logins"]
    assert [goal.target for goal in found.newest.rulebook.goals] == [4, 60]
    assert sorted(key[:2] for key in compiled) == [("logins", 1), ("logins", 2), ("minutes", 1)]


def test_what_a_release_before_published_is_parsed(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    leave_to_text(engine, 1)
    assert load(engine, files.parse, since_us=NOW).newest.rulebook.goals == (LOGINS, MINUTES)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("{rule,op}", '"median"'),
        ("{rule,per}", '"quarter"'),
        ("{rule,timezone}", '"Mars/Olympus"'),
        ("{rule,where}", '[["value", "~", 1]]'),
        ("{rule,where}", '["value"]'),
        ("{rule,half_life}", "5"),
        ("{rule,of}", '[{"op": "median", "target": 1.0}]'),
        ("{chance}", "0.5"),
        ("{rule}", "7"),
    ],
)
def test_what_a_later_release_compiled_is_not_half_understood(engine, files, path, value):
    """Its words are in the digest: a goal that this release would take for another one is not taken at all."""
    publish(engine, files.file(LOGINS), now_us=NOW)
    publish(engine, Document(b"from the future", Rulebook((_target(LOGINS, 4),)), "new.json"), now_us=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE rule_versions SET definition = jsonb_set(definition, %s, %s) WHERE version = 2", (path, value)
        )
        ((definition,),) = connection.exec_driver_sql("SELECT definition FROM rule_versions WHERE version = 2")
        meaning = {name: said for name, said in definition.items() if name not in ("name", "description")}
        digest = sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()
        connection.exec_driver_sql("UPDATE rule_versions SET digest = %s WHERE version = 2", (digest,))
    found = load(engine, files.parse, since_us=NOW)
    assert [revision for revision, _ in _versions(found)] == [1]
    assert [item.revision for item in found.unreadable] == [2]


def test_a_publication_that_cannot_be_read_is_left_out(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    publish(engine, Document(b"from the future", Rulebook((LOGINS,)), "new.json"), now_us=NOW)
    leave_to_text(engine, 2)
    assert [revision for revision, _ in _versions(load(engine, files.parse, since_us=NOW))] == [1]
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM rule_publications WHERE revision = 1")
    with pytest.raises(ConfigurationError, match="no publication of rules that can be read"):
        load(engine, files.parse, since_us=NOW)


def test_versions_of_the_first_release_go_on(engine, files):
    legacy = {"challenge": "c", "name": "x", "operator": "count", "event": "login", "target": 3.0, "per": None,
              "stops_at_target": False}  # fmt: skip
    with engine.begin() as connection:
        for goal, version, definition in (
            ("logins", 1, legacy | {"target": 2}),
            ("logins", 2, legacy),
            ("minutes", 1, legacy | {"operator": "sum", "event": "workout", "target": 30}),
        ):
            connection.exec_driver_sql(
                "INSERT INTO rule_versions (goal_id, version, digest, definition) VALUES (%s, %s, 'old', %s)",
                (goal, version, orjson.dumps(definition).decode()),
            )
    first = _publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert _summary(first) == {"logins": (2, None, False), "minutes": (2, "keep", True)}
    again = publish(engine, files.file(replace(LOGINS, name="other"), MINUTES), now_us=NOW)
    assert _summary(again) == {"logins": (2, None, False), "minutes": (2, None, False)}
    assert [rule_of(record.definition).target for record in RuleHistory(engine).versions("minutes")] == [30, 60]


def test_a_stored_definition_gives_the_rule_back(engine, files):
    part = Rule(
        op="count",
        events=("lesson",),
        target=10,
        where=(Condition("payload.course", "in", ("a", "b")), Condition("value", ">", 2.5)),
        per="week",
        timezone="Europe/Berlin",
    )
    rules = [
        Rule(op="all", of=("logins", part), target=2, within=HOUR),
        Rule(op="streak", events=("login",), target=7, unit="day", grace=1),
        Rule(op="sequence", events=("a", "b"), target=2, within=HOUR),
    ]
    goals = [replace(LOGINS, goal_id=f"g{n}", rule=rule) for n, rule in enumerate(rules)]
    publish(engine, files.file(LOGINS, *goals), now_us=NOW)
    history = RuleHistory(engine)
    assert [rule_of(history.versions(goal.goal_id)[0].definition) for goal in goals] == rules


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
        publish(engine, files.file(_target(LOGINS, 4)), now_us=NOW)
        waited = threading.Event()
        while watcher.current().newest.revision == 1 and not waited.wait(0.01):
            pass
        assert _versions(watcher.current()) == [(1, {"logins": 1}), (2, {"logins": 2})]
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
        publish(engine, files.file(_target(LOGINS, 4)), now_us=NOW)
        wait_until(lambda: watcher.current().newest.revision == 2)
        assert len(said()) == 1
        watcher.stop()


def test_the_version_that_users_stay_on_is_known_for_as_long_as_they_may(engine, files):
    first = files.file(LOGINS)
    stricter = files.file(replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather"))
    third = files.file(replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather"), MINUTES)
    for number, document in enumerate((first, stricter, third)):
        _publish(engine, document, now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.rulebook.by_id["logins"].version for item in found.items] == [1, 2, 2]


def test_once_all_users_have_moved_on_only_what_events_may_fall_under_is_loaded(engine, files):
    stricter = replace(LOGINS, rule=replace(LOGINS.rule, target=5), on_change="grandfather")
    last = replace(LOGINS, rule=replace(LOGINS.rule, target=6), on_change="restart")
    for number, goal in enumerate((LOGINS, stricter, last)):
        _publish(engine, files.file(goal), now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.revision for item in found.items] == [3]


def test_the_version_before_is_known_however_long_ago_it_was(engine, files):
    """Else a user who comes back after a month would begin anew."""
    changed = [replace(LOGINS, rule=replace(LOGINS.rule, target=target)) for target in (3, 4, 5)]
    for number, goal in enumerate(changed):
        _publish(engine, files.file(goal), now_us=NOW + number * HOUR)
    found = load(engine, files.parse, since_us=NOW + 1000 * HOUR)
    assert [item.revision for item in found.items] == [1, 2, 3]
    node = Matcher(found).graphs[-1].by_id["logins"]
    assert (node.version, node.keeps_from) == (3, 1)


def test_a_change_between_events_and_other_goals_is_refused_and_changes_nothing(engine, files):
    _publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    over = replace(LOGINS, rule=Rule(op="any", of=("minutes",)))
    with pytest.raises(ConfigurationError, match=r"goal 'logins': rule: was count, is any: .* give the goal a new id"):
        publish(engine, files.file(over, MINUTES), now_us=NOW)
    assert newest_revision(engine) == 1

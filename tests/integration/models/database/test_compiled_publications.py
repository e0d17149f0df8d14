"""What a publication is compiled to, and what of another release can be read."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from models.database.rules import publications
from models.database.rules.definitions import compiled_goal, rule_of
from models.database.rules.history import RuleHistory
from models.database.rules.publications import CompiledGoals, load
from models.database.rules.publisher import Document
from models.errors import ConfigurationError
from models.rules.goals import Rulebook
from models.rules.operators import make_rule
from models.rules.rule import Condition
from tasks.rules.publications import parse_stored
from tests.support.mixed_rules import document as mixed_document
from tests.support.publication import leave_to_text, publish
from tests.support.rule_files import (
    HOUR,
    LOGINS,
    MINUTES,
    NOW,
    publish_new,
    summary_of,
    versions_of,
    with_target,
)

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
    publish(engine, files.file(with_target(LOGINS, 4), MINUTES), now_us=NOW)
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
    publish(engine, Document(b"from the future", Rulebook((with_target(LOGINS, 4),)), "new.json"), now_us=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE rule_versions SET definition = jsonb_set(definition, %s, %s) WHERE version = 2", (path, value)
        )
        ((definition,),) = connection.exec_driver_sql("SELECT definition FROM rule_versions WHERE version = 2")
        meaning = {name: said for name, said in definition.items() if name not in ("name", "description")}
        digest = sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()
        connection.exec_driver_sql("UPDATE rule_versions SET digest = %s WHERE version = 2", (digest,))
    found = load(engine, files.parse, since_us=NOW)
    assert [revision for revision, _ in versions_of(found)] == [1]
    assert [item.revision for item in found.unreadable] == [2]


@pytest.mark.parametrize(
    "goals",
    ['[{"goal": "logins"}]', '[{"id": "logouts"}]', "[3]", "3", '{"logins": {}}', '[{"id": ["logins"]}]',
     '[{"id": "logins", "prerequisites": 7}]', '[{"id": "logins", "on_change": "merge"}]',
     '[{"id": "logins", "on_change": ["keep"]}]'],
)  # fmt: skip
def test_what_a_later_release_shows_of_goals_is_not_half_understood(engine, files, goals):
    publish(engine, files.file(LOGINS), now_us=NOW)
    publish(engine, Document(b"from the future", Rulebook((with_target(LOGINS, 4),)), "new.json"), now_us=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE rule_publications SET goals = %s WHERE revision = 2", (goals,))
    found = load(engine, files.parse, since_us=NOW)
    assert [revision for revision, _ in versions_of(found)] == [1]
    assert [item.revision for item in found.unreadable] == [2]


def test_a_publication_that_cannot_be_read_is_left_out(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    publish(engine, Document(b"from the future", Rulebook((LOGINS,)), "new.json"), now_us=NOW)
    leave_to_text(engine, 2)
    assert [revision for revision, _ in versions_of(load(engine, files.parse, since_us=NOW))] == [1]
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
    first = publish_new(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert summary_of(first) == {"logins": (2, None, False), "minutes": (2, "keep", True)}
    again = publish(engine, files.file(replace(LOGINS, name="other"), MINUTES), now_us=NOW)
    assert summary_of(again) == {"logins": (2, None, False), "minutes": (2, None, False)}
    assert [rule_of(record.definition).target for record in RuleHistory(engine).versions("minutes")] == [30, 60]


def test_a_stored_definition_gives_the_rule_back(engine, files):
    part = make_rule(
        op="count",
        events=("lesson",),
        target=10,
        where=(Condition("payload.course", "in", ("a", "b")), Condition("value", ">", 2.5)),
        per="week",
        timezone="Europe/Berlin",
    )
    rules = [
        make_rule(op="all", of=("logins", part), target=2, within=HOUR),
        make_rule(op="streak", events=("login",), target=7, unit="day", grace=1),
        make_rule(op="sequence", events=("a", "b"), target=2, within=HOUR),
    ]
    goals = [replace(LOGINS, goal_id=f"g{n}", rule=rule) for n, rule in enumerate(rules)]
    publish(engine, files.file(LOGINS, *goals), now_us=NOW)
    history = RuleHistory(engine)
    assert [rule_of(history.versions(goal.goal_id)[0].definition) for goal in goals] == rules

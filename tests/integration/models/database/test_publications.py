"""Publications of rules on a real PostgreSQL: versions, when they hold, and how processes pick them up (P9)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from models.database.rules.history import RuleHistory
from models.database.rules.publications import load
from models.database.rules.publisher import PICK_UP_US, preview
from models.errors import ConfigurationError
from models.rules.operators import make_rule
from tests.support.publication import newest_revision, publish
from tests.support.rule_files import (
    CITIES,
    HOUR,
    LOGINS,
    MINUTES,
    NOW,
    publish_new,
    summary_of,
    versions_of,
    with_target,
)


def test_the_first_publication_holds_for_all_events(engine, files):
    first = publish_new(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert (first.revision, first.active_from) == (1, 0)
    assert summary_of(first) == {"logins": (1, None, True), "minutes": (1, None, True)}
    assert newest_revision(engine) == 1


def test_only_a_changed_meaning_is_a_new_version(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    renamed = replace(MINUTES, name="Work out", description="new", reward={"gold": 1}, hidden=True)
    second = publish_new(engine, files.file(with_target(LOGINS, 4), renamed), now_us=NOW + HOUR)
    assert summary_of(second) == {"logins": (2, "keep", True), "minutes": (1, None, False)}
    assert (second.revision, second.active_from) == (2, NOW + HOUR + PICK_UP_US)
    back = publish(engine, files.file(LOGINS, renamed), now_us=NOW + 2 * HOUR)
    assert summary_of(back)["logins"] == (3, "keep", True)


def test_a_policy_is_what_it_comes_to(engine, files):
    goals = (LOGINS, MINUTES, CITIES)
    publish(engine, files.file(*goals), now_us=NOW)
    changed = files.file(
        with_target(LOGINS, 5, on_change="grandfather"),
        with_target(MINUTES, 9, on_change="restart"),
        with_target(CITIES, 9),
    )
    assert {goal: policy for goal, (_, policy, _) in summary_of(publish(engine, changed, now_us=NOW)).items()} == {
        "logins": "grandfather", "minutes": "restart", "cities": "restart",
    }  # fmt: skip


def test_a_goal_that_was_away_in_between_starts_anew_if_it_changed(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    without = publish_new(engine, files.file(MINUTES), now_us=NOW)
    assert without.removed == ["logins"]
    same = preview(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    assert summary_of(same)["logins"] == (1, None, False)
    other = publish(engine, files.file(with_target(LOGINS, 9), MINUTES), now_us=NOW)
    assert summary_of(other)["logins"] == (2, "restart", True)


def test_the_newest_file_is_not_published_again_but_an_older_one_is(engine, files):
    one, two = files.file(LOGINS), files.file(with_target(LOGINS, 4))
    assert publish_new(engine, one, now_us=NOW).revision == 1
    assert publish(engine, one, now_us=NOW) is None
    assert publish_new(engine, two, now_us=NOW).revision == 2
    assert publish(engine, one, now_us=NOW, only_if_unseen=True) is None
    assert publish_new(engine, one, now_us=NOW).revision == 3


def test_many_processes_that_start_at_once_publish_once(engine, files):
    document = files.file(LOGINS, MINUTES)
    with ThreadPoolExecutor(4) as starting:
        done = list(starting.map(lambda _: publish(engine, document, now_us=NOW, only_if_unseen=True), range(4)))
    assert sum(published is not None for published in done) == 1
    assert newest_revision(engine) == 1


def test_a_preview_writes_nothing(engine, files):
    document = files.file(LOGINS)
    assert summary_of(preview(engine, document, now_us=NOW)) == {"logins": (1, None, True)}
    assert newest_revision(engine) == 0
    assert RuleHistory(engine).versions("logins") == []


def test_a_publication_may_be_set_ahead_and_the_next_never_overtakes_it(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    later = NOW + 24 * HOUR
    assert publish_new(engine, files.file(with_target(LOGINS, 4)), now_us=NOW, active_from=later).active_from == later
    assert publish_new(engine, files.file(with_target(LOGINS, 5)), now_us=NOW).active_from == later
    with pytest.raises(ConfigurationError, match=r"active_from: .* is too early, the earliest is 2026-11-22T12:00:00"):
        publish(engine, files.file(with_target(LOGINS, 6)), now_us=NOW, active_from=NOW + HOUR)
    assert newest_revision(engine) == 3


def test_a_publication_cannot_hold_for_events_that_were_evaluated_already(engine, files):
    publish(engine, files.file(LOGINS), now_us=NOW)
    with pytest.raises(ConfigurationError, match="too early"):
        publish(engine, files.file(with_target(LOGINS, 4)), now_us=NOW, active_from=NOW)


def test_each_event_finds_the_publication_of_its_time(engine, files):
    publish(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    publish(engine, files.file(with_target(LOGINS, 4), MINUTES), now_us=NOW + HOUR)
    publish(engine, files.file(with_target(LOGINS, 5), MINUTES), now_us=NOW + 2 * HOUR)
    known = load(engine, files.parse, since_us=NOW)
    assert versions_of(known) == [
        (1, {"logins": 1, "minutes": 1}), (2, {"logins": 2, "minutes": 1}), (3, {"logins": 3, "minutes": 1}),
    ]  # fmt: skip
    change = NOW + HOUR + PICK_UP_US
    assert known.at(change - 1).rulebook.by_id["logins"].target == 3
    assert known.at(change).rulebook.by_id["logins"].target == 4
    assert known.at(NOW + 9 * HOUR).rulebook.by_id["logins"].version == 3
    # Those that events may fall under, and the ones before, whose progress they keep.
    assert [number for number, _ in versions_of(load(engine, files.parse, since_us=change))] == [1, 2, 3]
    assert [number for number, _ in versions_of(load(engine, files.parse, since_us=NOW + 9 * HOUR))] == [1, 2, 3]


def test_a_version_keeps_the_policy_it_was_published_with(engine, files):
    publish(engine, files.file(LOGINS, CITIES), now_us=NOW)
    publish(engine, files.file(with_target(LOGINS, 4, on_change="grandfather"), with_target(CITIES, 4)), now_us=NOW)
    publish(
        engine, files.file(with_target(LOGINS, 4, on_change="restart", name="x"), with_target(CITIES, 4)), now_us=NOW
    )
    known = load(engine, files.parse, since_us=NOW)
    assert [item.rulebook.by_id["logins"].on_change for item in known.items[1:]] == ["grandfather", "grandfather"]
    assert known.newest.rulebook.by_id["cities"].on_change == "restart"


def test_a_change_between_events_and_other_goals_is_refused_and_changes_nothing(engine, files):
    publish_new(engine, files.file(LOGINS, MINUTES), now_us=NOW)
    over = replace(LOGINS, rule=make_rule(op="any", of=("minutes",)))
    with pytest.raises(ConfigurationError, match=r"goal 'logins': rule: was count, is any: .* give the goal a new id"):
        publish(engine, files.file(over, MINUTES), now_us=NOW)
    assert newest_revision(engine) == 1

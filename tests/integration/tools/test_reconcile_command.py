"""``questline reconcile``: what it prints and ends with."""

import json

import pytest

from models.database.rules.publisher import Document
from models.rules.calendar import microseconds
from tests.support.audit import lessons, sql
from tests.support.mixed_rules import RULES, document, plan_of, post
from tests.support.publication import publish
from tests.support.stack import NOON

pytestmark = pytest.mark.slow


@pytest.fixture
def command(engine, quietly):
    """``questline reconcile`` on the servers of the test, whose rules are published."""
    publish(engine, Document(document(), RULES, "mixed.json"), now_us=microseconds(NOON))
    return quietly("reconcile")


def test_the_command_repairs_says_what_and_ends_with_0_once_all_is_right(mixed, command):
    post(mixed, plan_of(600, 10))
    sql(mixed, "UPDATE user_goal_progress SET progress = progress + 1 WHERE user_id = 'lt-a-3' AND goal_id = 'minutes'")

    dry = command("--dry-run", "--json")
    other = command("--user", "lt-a-4", "--tenant", "t1")
    repaired = command("--all")
    again = command("--json")

    said = json.loads(dry.stdout)
    assert (dry.exit_code, said["ok"], said["users_differing"], said["users_repaired"]) == (1, False, 1, 0)
    assert (other.exit_code, repaired.exit_code, again.exit_code) == (0, 0, 0)
    assert repaired.stdout.startswith("t1 lt-a-3 minutes: progress must be ")
    assert "1 users differed in 1 places, 1 repaired" in repaired.stdout
    assert json.loads(again.stdout)["users_differing"] == 0


def test_the_command_ends_with_1_where_something_is_left_and_with_2_for_two_scopes(mixed, command):
    lessons(mixed, 1)
    sql(mixed, "UPDATE user_goal_progress SET progress = 2, stamp = 9223372036854775807")
    bad = command()
    assert bad.exit_code == 1
    assert "left: t1 ada: " in bad.stdout
    assert command("--user", "u", "--all").exit_code == 2
    assert command("--tenant", "t").exit_code == 2

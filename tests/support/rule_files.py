"""Challenges files by their content, and what their publications come to."""

from dataclasses import replace
from datetime import UTC, datetime

from models.database.rules.publisher import Document
from models.errors import InvalidChallengesError
from models.rules.calendar import microseconds
from models.rules.goals import Goal, Rulebook
from models.rules.operators import make_rule
from tests.support.publication import publish

NOW = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))
HOUR = 3_600_000_000
LOGINS = Goal(
    goal_id="logins", challenge_id="c", name="Log in", rule=make_rule(op="count", events=("login",), target=3)
)
MINUTES = Goal(
    goal_id="minutes", challenge_id="c", name="Train", rule=make_rule(op="sum", events=("workout",), target=60)
)
CITIES = Goal(
    goal_id="cities",
    challenge_id="c",
    name="Travel",
    rule=make_rule(op="distinct", events=("visit",), target=3, field="payload.city"),
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


def publish_new(engine, document, **options):
    """Publish what is new."""
    done = publish(engine, document, **options)
    assert done is not None
    return done


def with_target(goal, target, **changes):
    return replace(goal, rule=replace(goal.rule, target=target), **changes)


def summary_of(published):
    return {goal.goal_id: (goal.version, goal.policy, goal.is_new) for goal in published.goals}


def versions_of(publications):
    return [
        (item.revision, {goal.goal_id: goal.version for goal in item.rulebook.goals}) for item in publications.items
    ]

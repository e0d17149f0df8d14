"""Audits of a stack, and statements that spoil it."""

from datetime import timedelta

from models.rules.matcher import DEFAULT_LATENESS_US
from tasks.audit.audit import Auditor, Scope
from tasks.audit.replay import RecallingMatcher


def audit(stack, scope=None, grace=timedelta(), **options):
    rules = stack.matcher().publications
    auditor = Auditor(stack.engine, lambda: RecallingMatcher(rules, lateness_us=DEFAULT_LATENESS_US), **options)
    return auditor.run(scope or Scope(), grace=grace)


def sql(stack, statement):
    with stack.engine.begin() as connection:
        return connection.exec_driver_sql(statement).rowcount


def lessons(stack, number, user="ada"):
    stack.post(*(stack.event("lesson", user, payload=b'{"course":"c1"}') for _ in range(number)))
    stack.flusher.flush()


def progress(stack, goal="lessons", user="ada"):
    """What Redis and PostgreSQL show of a goal."""
    return stack.progress(user).get((goal, ""), (None,))[0], stack.rows(user).get((goal, ""), (None,))[0]

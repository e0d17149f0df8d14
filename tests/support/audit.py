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

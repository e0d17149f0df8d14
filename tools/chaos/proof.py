"""PostgreSQL after a run, against what was acknowledged, event by event."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from cli.database import log_database
from config.settings import Settings
from models.database.connection import database_errors
from models.database.tables import dead_letters, events
from tasks.audit.audit import Auditor, AuditReport, Scope
from tasks.audit.published_rules import published_rules
from tools.loadtest.sender import SendReport
from tools.loadtest.verification import VerifyReport, verify

_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found."""

    stored: VerifyReport
    """Every acknowledged event, and every row, against the reference engine."""
    audit: AuditReport
    """Every row and unlock, against the events that PostgreSQL has."""
    dead_letters: Counter[str]
    """By reason. An event that ended there is not counted, so it is lost as well."""


def forget_lost_history(sent: SendReport, at_risk: Collection[str], settings: Settings) -> int:
    """Count acknowledged events that went with a store's lost history as never accepted; returns how many.

    Those of them that PostgreSQL has stay: they must be right like all others.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with log_database(settings) as engine, database_errors(), engine.connect() as connection:
        stored = set(
            connection.execute(select(events.c.event_id).where(events.c.tenant_id == sent.plan.tenant_id)).scalars()
        )
    forgotten = 0
    for index, accepted in enumerate(sent.accepted_events):
        event_id = sent.plan.event_id(index)
        if accepted and event_id in at_risk and event_id not in stored:
            sent.accepted_events[index] = 0
            forgotten += 1
    return forgotten


def prove(sent: SendReport, settings: Settings, on_count: Callable[[int], None]) -> Proof:
    """Compare everything.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with log_database(settings) as engine:
        rules = published_rules(engine, settings)
        stored = verify(sent, rules, settings.database_url, timeout=_GRACE_S, on_count=on_count)
        audit = Auditor(engine, lambda: rules).run(Scope(), grace=timedelta(seconds=_GRACE_S))
        with database_errors(), engine.connect() as connection:
            rows = connection.execute(select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason))
            by_reason: Counter[str] = Counter({row[0]: row[1] for row in rows})
    return Proof(stored, audit, by_reason)

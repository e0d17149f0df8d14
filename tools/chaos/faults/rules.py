"""Faults of rules: a publication while workers' sessions stand still."""

import json
from contextlib import closing, suppress
from datetime import timedelta
from random import Random
from signal import SIGSTOP
from time import time_ns

from sqlalchemy import Engine

from models.database.connection import connect_database, database_errors
from models.database.rules.history import RuleHistory
from models.database.rules.publisher import Document, Publisher
from models.errors import QuestlineError
from models.state.connection import connect_state
from models.state.fleet.fences import Fences
from tasks.rules.publications import parse_stored
from tools.chaos.faults.fault import Category, Fault, Heal, missed
from tools.chaos.installation import Installation
from tools.chaos.processes import send, thaw

_PATIENCE = timedelta(seconds=5)
"""How long PostgreSQL may take: a session that stands still may hold what the others need."""
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name IN ('questline-worker', 'questline-rules')"


def _publish_late(installation: Installation, random: Random) -> Heal:
    """Workers cannot ask for the new goal by the sessions they have, and must not apply events without it."""
    url = installation.settings.database_url
    engine = connect_database(url, application="questline-chaos", statement_timeout=_PATIENCE)
    frozen: list[int] = []
    try:
        with database_errors(), engine.connect() as connection:
            sessions = [int(pid) for (pid,) in connection.exec_driver_sql(_SESSIONS)]
        frozen += [pid for pid in sessions if send(pid, SIGSTOP)]
        is_published = _add_goal(installation, engine, random)
    except QuestlineError:
        is_published = False
    finally:
        with suppress(QuestlineError):
            engine.dispose()

    def heal() -> bool:
        thaw(frozen)
        return is_published and bool(frozen)

    return heal if frozen else missed


def _add_goal(installation: Installation, engine: Engine, random: Random) -> bool:
    newest = RuleHistory(engine).publication()
    if newest is None:
        return False
    event_type = random.choice(sorted(parse_stored(newest.document).by_event))
    goal_id = f"published-after-{newest.revision}"
    rule = {"op": "count", "event": event_type, "target": random.randint(2, 5)}
    file = json.loads(newest.document)
    file["challenges"][-1]["goals"].append({"id": goal_id, "rule": rule})
    content = json.dumps(file).encode()
    document = Document(content, parse_stored(content), goal_id)
    with closing(connect_state(installation.settings.state, socket_timeout=2)) as redis:
        fences = Fences(redis, installation.settings.shards)
        return Publisher(engine, fences).publish(document, now_us=time_ns() // 1000) is not None


RULE_FAULTS = (Fault("rules-published-late", Category.SERVERS, (2.0, 8.0), _publish_late),)

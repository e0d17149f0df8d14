"""The naive design, kept for comparison only: one Celery task and one UPSERT an event, on the same servers.

A receiver takes the same requests as ours and calls ``apply_async`` for every event in them; as many worker
processes as the product has shard workers run one statement a task. It is made as fast as its design allows,
and does less than the product: no validation, no journal, no dedup, no event log, no exact sums, no query
before the write, and messages are acknowledged before they are worked on.

Run as a process: ``python -m benchmarks.naive receiver PORT`` or ``python -m benchmarks.naive worker NAME``,
with the servers in the environment as for the product.
"""

import sys
from typing import Any

import orjson
import psycopg2
import uvicorn
from celery import Celery
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its driver calls it
from psycopg2.extras import execute_values
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cli.client.messages import EVENTS_PATH
from config.settings import Settings
from models.rules.goals import Goal, Rulebook
from worker.wiring import load_rulebook

TABLE = """
CREATE TABLE naive_progress (
    tenant_id text, user_id text, goal_id text, period text, challenge_id text NOT NULL,
    adds boolean NOT NULL, target numeric NOT NULL, progress numeric NOT NULL, status text NOT NULL,
    applied bigint NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, goal_id, period)
)
"""
APPLIED = "SELECT coalesce(sum(applied), 0) FROM naive_progress WHERE tenant_id = %s"
"""How many events have moved a goal: the count by which a run is verified."""

_UPSERT = """
INSERT INTO naive_progress AS t
    (tenant_id, user_id, goal_id, period, challenge_id, adds, target, progress, status, applied)
VALUES %s
ON CONFLICT (tenant_id, user_id, goal_id, period) DO UPDATE SET
    progress = CASE WHEN t.adds THEN t.progress ELSE 0 END + excluded.progress,
    status = CASE
        WHEN t.status = 'completed'
            OR CASE WHEN t.adds THEN t.progress ELSE 0 END + excluded.progress >= t.target
        THEN 'completed' ELSE 'in_progress'
    END,
    applied = t.applied + 1,
    updated_at = now()
"""


class _Worker:
    """What a worker process keeps open; connected at the first task, after Celery's fork."""

    connection: Connection | None = None
    rulebook: Rulebook | None = None


def make_app(settings: Settings) -> Celery:
    """Celery as it comes, without results, which nobody reads."""
    app = Celery("naive", broker=settings.broker, set_as_current=False)
    app.conf.update(task_ignore_result=True, task_default_queue="naive")
    app.task(name="naive.count_event")(count_event)
    return app


def count_event(event: dict[str, Any]) -> None:
    """The task: the event's goals, one statement, one commit."""
    if _Worker.connection is None or _Worker.rulebook is None:
        settings = Settings()
        _Worker.rulebook = load_rulebook(settings)
        _Worker.connection = psycopg2.connect(settings.database_url)
        _Worker.connection.autocommit = True
    goals = _Worker.rulebook.by_event.get(event["event_type"], ())
    with _Worker.connection.cursor() as cursor:
        execute_values(cursor, _UPSERT, [_row(event, goal) for goal in goals])


def _row(event: dict[str, Any], goal: Goal) -> tuple[object, ...]:
    day = event["occurred_at"][:10] if goal.per == "day" else ""
    amount = 1 if goal.rule.op == "count" else event.get("value", 1)
    status = "completed" if amount >= goal.target else "in_progress"
    adds = goal.rule.op != "latest"
    key = (event["tenant_id"], event["user_id"], goal.goal_id, day)
    return (*key, goal.challenge_id, adds, goal.target, amount, status, 1)


def make_receiver(app: Celery) -> Starlette:
    """The receiver: every event of a request becomes a task of its own."""
    task = app.tasks["naive.count_event"]

    def publish(events: list[dict[str, Any]]) -> None:
        for event in events:
            task.apply_async((event,))

    async def take(request: Request) -> Response:
        events = orjson.loads(await request.body())
        await run_in_threadpool(publish, events if isinstance(events, list) else [events])
        return Response(b'{"rejected":[]}', 202, media_type="application/json")

    return Starlette(routes=[Route(EVENTS_PATH, take, methods=["POST"])])


def main(role: str, argument: str) -> None:
    """Be one of the two processes until SIGTERM."""
    app = make_app(Settings())
    app.finalize()
    if role == "receiver":
        uvicorn.run(make_receiver(app), port=int(argument), http="httptools", loop="uvloop", log_level="warning")
    else:
        # As the product's shard workers: one child each, no gossip.
        options = ["--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=warning"]
        app.worker_main(["worker", f"--hostname={argument}@%h", *options])


if __name__ == "__main__":
    main(*sys.argv[1:])

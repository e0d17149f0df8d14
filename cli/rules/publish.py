"""``questline rules publish``: publish a challenges file without a restart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.running import running_settings
from cli.database import read_document, rules_database, rules_fences
from cli.output import read_datetime
from config.settings import Settings
from models.database.rules.publisher import Document, Published, PublishedGoal, Publisher, preview
from models.failpoints import now_us
from models.installation.joining import shared
from models.rules.calendar import microseconds, to_datetime
from tasks.rules.costs import EventCosts, cost_bound, cost_data, cost_lines


def publish(
    file: Annotated[Path, typer.Argument(help="The challenges file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be published, and publish nothing.")
    ] = False,
    active_from: Annotated[
        str | None, typer.Option(help="From which event time on it holds, as 2026-12-01T00:00:00Z; soonest: in 3 s.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Publish a challenges file: goals whose meaning changed get a new version, which workers go by from then on."""
    wanted = None if active_from is None else microseconds(read_datetime(active_from, "--active-from"))
    settings = shared(running_settings(Settings()))
    document = read_document(file, lateness=settings.max_lateness)
    bound = cost_bound(settings)
    with rules_database() as engine:
        done = preview(engine, document, now_us=now_us(), active_from=wanted)
        costs: EventCosts = {}
        if done is not None:
            costs = bound.require_after(engine, document.rulebook, done, now_us=now_us())
        if done is not None and not dry_run:
            with rules_fences() as fences:
                done = Publisher(engine, fences).publish(document, now_us=now_us(), active_from=wanted)
    if as_json:
        said = _as_json(done, dry_run=dry_run)
        typer.echo(json.dumps(said if done is None else said | {"cost": cost_data(costs, bound)}))
    elif done is None:
        typer.echo(f"{file}: is what was published last; nothing to do")
    else:
        typer.echo("\n".join(_lines(document, done, costs, dry_run=dry_run)))


def _as_json(done: Published | None, *, dry_run: bool) -> dict[str, Any]:
    if done is None:
        return {"published": False, "dry_run": dry_run}
    goals = [
        {"goal_id": goal.goal_id, "change": _change(goal), "version": goal.version, "policy": goal.policy}
        for goal in done.goals
    ]
    return {
        "published": not dry_run,
        "dry_run": dry_run,
        "revision": done.revision,
        "active_from": to_datetime(done.active_from).isoformat(),
        "goals": goals,
        "removed": done.removed,
    }


def _change(goal: PublishedGoal) -> str:
    if not goal.is_new:
        return "unchanged"
    return "new" if goal.version == 1 else "changed"


def _lines(document: Document, done: Published, costs: EventCosts, *, dry_run: bool) -> Iterator[str]:
    width = max(len(goal_id) for goal_id in [*done.removed, *(goal.goal_id for goal in done.goals)])
    for goal in done.goals:
        yield f"{goal.goal_id:<{width}}  {_said(document, goal)}"
    for goal_id in done.removed:
        yield f"{goal_id:<{width}}  removed"
    yield from cost_lines(costs)
    since = f"for events from {to_datetime(done.active_from).isoformat()} on" if done.active_from else "for all events"
    yield f"{'would be revision' if dry_run else 'revision'} {done.revision}, {since}"


def _said(document: Document, goal: PublishedGoal) -> str:
    if goal.policy is None:
        return f"{_change(goal)} v{goal.version}"
    asked = document.rulebook.by_id[goal.goal_id].on_change
    why = "" if goal.policy == asked else f", as progress cannot be kept across this change ({asked} was asked for)"
    return f"changed v{goal.version - 1} -> v{goal.version} ({goal.policy}{why})"

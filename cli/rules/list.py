"""``questline rules list``, ``show`` and ``history``: what was published."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cli.database import rules_database
from cli.output import json_text, print_table
from cli.rules.diff import in_words
from models.database.rules.definitions import rule_of
from models.database.rules.differences import Difference, differences, fields_of_version
from models.database.rules.history import PublicationRecord, RuleHistory, VersionRecord
from models.errors import PermanentError
from models.rules.calendar import to_datetime
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.goals import Goal
from tasks.rules.publications import parse_stored

_AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
_GoalId = Annotated[str, typer.Argument(help="The goal's id.")]


def list_rules(*, as_json: _AsJson = False) -> None:
    """List the goals of the newest publication with their versions and rules."""
    with rules_database() as engine:
        record = RuleHistory(engine).publication()
    if record is None:
        raise PermanentError("nothing is published yet: the first process that starts publishes CHALLENGES_FILE")
    goals = [_listed(goal) for goal in parse_stored(record.document).with_versions(record.versions).goals]
    if as_json:
        said = {"revision": record.revision, "active_from": record.active_from.isoformat(), "source": record.source}
        typer.echo(json_text(said | {"goals": goals}))
    else:
        print_table(_table(record, goals))


def show(
    goal: _GoalId,
    version: Annotated[int | None, typer.Option(help="Which version; the newest where not given.")] = None,
    as_json: _AsJson = False,
) -> None:
    """Show a version of a goal, its rule as an expression and as JSON."""
    known = _versions(goal)
    found = [record for record in known if version in (None, record.version)]
    if not found:
        raise PermanentError(f"goal {goal!r} has no version {version}, only 1 to {known[-1].version}")
    said = _shown(found[-1])
    if as_json:
        typer.echo(json_text(said))
    else:
        typer.echo(
            "\n".join(f"{name + ':':<14} {_plain(value)}" for name, value in said.items() if value not in (None, ""))
        )


def history(goal: _GoalId, as_json: _AsJson = False) -> None:
    """Tell the versions of a goal: since when, what changed, and what became of progress."""
    told = list(_told(_versions(goal)))
    if as_json:
        typer.echo(json.dumps([said | {"changes": [part._asdict() for part in parts]} for said, parts in told]))
        return
    for said, parts in told:
        revision = f", revision {said['revision']}" if said["revision"] else ""
        policy = f", {said['policy']}" if said["policy"] else ""
        since = said["active_from"] or "the beginning"
        typer.echo(f"v{said['version']}  published {said['published_at']}{revision}, holds from {since}{policy}")
        for part in parts:
            typer.echo(f"    {in_words(part)}")


def _versions(goal_id: str) -> list[VersionRecord]:
    with rules_database() as engine:
        known = RuleHistory(engine).versions(goal_id)
    if not known:
        raise PermanentError(f"goal {goal_id!r} was never published; `questline rules list` names those that are")
    return known


def _listed(goal: Goal) -> dict[str, Any]:
    return {
        "goal_id": goal.goal_id,
        "challenge_id": goal.challenge_id,
        "version": goal.version,
        "op": goal.rule.op,
        "rule": expression_of(goal.rule),
        "active_from": _iso(None if goal.active_from is None else to_datetime(goal.active_from)),
        "active_until": _iso(None if goal.active_until is None else to_datetime(goal.active_until)),
    }


def _table(record: PublicationRecord, goals: list[dict[str, Any]]) -> Table:
    since = (
        f"for events from {record.active_from.isoformat()} on" if record.active_from.timestamp() else "for all events"
    )
    title = Text(f"Revision {record.revision} of {record.source}, {since}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("Goal", "Version", "Operator", "Rule", "Active"):
        table.add_column(name, overflow="fold")
    for goal in goals:
        ends = (("from", goal["active_from"]), ("until", goal["active_until"]))
        active = " ".join(f"{word} {at}" for word, at in ends if at) or "always"
        # Ids come from a file: as Text they are shown, not read as Rich's markup.
        table.add_row(*(Text(str(goal[name])) for name in ("goal_id", "version", "op", "rule")), Text(active))
    return table


def _shown(record: VersionRecord) -> dict[str, Any]:
    definition, rule = record.definition, rule_of(record.definition)
    times = {name: definition.get(name) for name in ("active_from", "active_until")}
    return {
        "goal": record.goal_id,
        "version": record.version,
        "name": definition.get("name"),
        "challenge": definition["challenge"],
        "expression": expression_of(rule),
        "rule": json_of(rule),
        "prerequisites": definition.get("prerequisites") or None,
        "segments": definition.get("segments") or None,
        **{name: None if at is None else to_datetime(at).isoformat() for name, at in times.items()},
        "policy": record.policy,
        "published_at": record.published_at.isoformat(),
        "holds_from": _iso(record.active_from),
        "revision": record.revision,
    }


def _told(known: list[VersionRecord]) -> Iterator[tuple[dict[str, Any], list[Difference]]]:
    before = None
    for record in known:
        said = {
            "version": record.version,
            "published_at": record.published_at.isoformat(),
            "active_from": _iso(record.active_from),
            "policy": record.policy,
            "revision": record.revision,
        }
        fields = fields_of_version(record)
        yield said, list(differences(record.goal_id, before, fields)) if before is not None else []
        before = fields


def _iso(at: datetime | None) -> str | None:
    """A time as text; none for the beginning of all time, which the first publication holds from."""
    return at.isoformat() if at is not None and at.timestamp() else None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""``questline rules``: commands about challenges files and publications."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.database import read_document
from cli.rules.diff import diff
from cli.rules.format import format_rules, schema
from cli.rules.list import history, list_rules, show
from cli.rules.publish import publish
from config.settings import Settings
from models.errors import InvalidChallengesError, RulesTooCostlyError
from tasks.rules.costs import cost_bound, cost_data, cost_lines

rules = typer.Typer(help="Check, publish and compare rules.", no_args_is_help=True, add_completion=False)


@rules.callback()
def _group() -> None:
    """Check, publish and compare rules."""


@rules.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The challenges file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Say every fault of a challenges file, one line each, as the product would at its start, and what it costs."""
    bound = cost_bound(Settings())
    try:
        rulebook = read_document(file).rulebook
        costs = bound.require(rulebook)
    except (InvalidChallengesError, RulesTooCostlyError) as error:
        faults = error.faults if isinstance(error, InvalidChallengesError) else str(error).splitlines()
        typer.echo(json.dumps({"valid": False, "faults": faults}) if as_json else "\n".join(faults))
        raise typer.Exit(1) from error
    challenges = len({goal.challenge_id for goal in rulebook.goals})
    events = len(rulebook.by_event)
    if as_json:
        answer = {
            "valid": True,
            "challenges": challenges,
            "goals": len(rulebook.goals),
            "event_types": events,
            "cost": cost_data(costs, bound),
        }
        typer.echo(json.dumps(answer))
    else:
        typer.echo("\n".join(cost_lines(costs)))
        typer.echo(f"{file}: {challenges} challenges, {len(rulebook.goals)} goals on {events} event types, no faults")


rules.command("format")(format_rules)
rules.command()(schema)
rules.command()(publish)
rules.command("list")(list_rules)
rules.command()(show)
rules.command()(diff)
rules.command()(history)

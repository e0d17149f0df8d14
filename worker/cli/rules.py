"""``questline rules``: the commands about challenges files and what was published of them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from models.errors import InvalidChallengesError
from worker.cli.rule_database import read_document
from worker.cli.rule_differences import diff
from worker.cli.rule_format import format_rules, schema
from worker.cli.rule_publishing import publish
from worker.cli.rule_reading import history, list_rules, show

rules = typer.Typer(help="Check, publish and compare rules.", no_args_is_help=True, add_completion=False)


@rules.callback()
def _group() -> None:
    """Check, publish and compare rules."""


@rules.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The challenges file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Say every fault of a challenges file, one line each, as the product would at its start."""
    try:
        rulebook = read_document(file).rulebook
    except InvalidChallengesError as error:
        typer.echo(json.dumps({"valid": False, "faults": error.faults}) if as_json else "\n".join(error.faults))
        raise typer.Exit(1) from error
    challenges = len({goal.challenge_id for goal in rulebook.goals})
    events = len(rulebook.by_event)
    if as_json:
        answer = {
            "valid": True,
            "challenges": challenges,
            "goals": len(rulebook.goals),
            "event_types": events,
        }
        typer.echo(json.dumps(answer))
    else:
        typer.echo(f"{file}: {challenges} challenges, {len(rulebook.goals)} goals on {events} event types, no faults")


rules.command("format")(format_rules)
rules.command()(schema)
rules.command()(publish)
rules.command("list")(list_rules)
rules.command()(show)
rules.command()(diff)
rules.command()(history)

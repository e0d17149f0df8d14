"""``questline rules``: what can be asked about challenges files without a running product."""

import json
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ConfigurationError, InvalidChallengesError
from models.rules.goals import Rulebook

rules = typer.Typer(help="Check challenges files.", no_args_is_help=True)


@rules.callback()
def _group() -> None:
    """Check challenges files."""


@rules.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The challenges file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Say every fault of a challenges file, one line each, as the product would at its start."""
    try:
        rulebook = read_rulebook(file)
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


def read_rulebook(file: Path) -> Rulebook:
    """Read a challenges file from disk.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidChallengesError: the file has faults.
    """
    from models.rules.challenges import parse_challenges  # noqa: PLC0415 - `rules --help` does without pydantic

    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}") from error
    return parse_challenges(text, str(file))

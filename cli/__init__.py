"""The command line: ``questline VERB``, also as ``python -m cli VERB``.

A verb's module is imported when the verb is called, not before: six processes of the product start through
this file, and ``questline --help`` shall answer at once.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version as release_of
from typing import Annotated, Any, NamedTuple

import structlog
import typer
from typer.core import TyperGroup

from cli.output import escaped
from models.errors import ConfigurationError, QuestlineError


class Verb(NamedTuple):
    """A command: where its function, or its Typer of further commands, is found, and what it is for."""

    module: str
    name: str
    purpose: str


VERBS: dict[str, Verb] = {
    "up": Verb("tools.local.command", "up", "Start everything and keep it running."),
    "urls": Verb("cli.client.urls", "urls", "Print the addresses of the running product."),
    "receiver": Verb("cli.processes.receiver", "receiver", "Run the receiver: HTTP and gRPC."),
    "worker": Verb("cli.processes.worker", "worker", "Run a worker on its share of the shards."),
    "beat": Verb("cli.processes.worker", "beat", "Run the clock of the periodic tasks."),
    "flower": Verb("cli.processes.worker", "flower", "Run Flower, the view on workers and tasks."),
    "migrate": Verb("cli.processes.worker", "migrate", "Bring PostgreSQL to this version's tables."),
    "rules": Verb("cli.rules.commands", "rules", "Check, publish and compare rules."),
    "events": Verb("cli.client.events", "events", "Send single events to the running product."),
    "progress": Verb("cli.client.progress", "progress", "Show a user's progress on every goal."),
    "attributes": Verb("cli.client.attributes", "attributes", "Show or replace what rules know of a user."),
    "audit": Verb("tools.audit.commands.audit", "audit", "Prove that progress is what the events say."),
    "replay": Verb("tools.audit.commands.replay", "replay", "Compute progress anew from the event log."),
    "reconcile": Verb(
        "tools.audit.commands.reconcile", "reconcile", "Repair progress that is not what the events say."
    ),
    "recover": Verb("cli.installation.recover", "recover", "Go on after a backup was restored."),
    "dlq": Verb("cli.dead_letters.commands", "dlq", "Look at dead letters, redrive or discard them."),
    "shards": Verb("cli.installation.shards", "shards", "Change how many shards users are spread over."),
    "settings": Verb("cli.installation.settings", "settings", "Show or change the settings that all processes share."),
    "keys": Verb("cli.access.keys", "keys", "Create, rotate and revoke API keys."),
    "quotas": Verb("cli.access.quotas", "quotas", "How much tenants and keys may send."),
    "doctor": Verb("tools.doctor.command", "doctor", "Check the installation and say what to do."),
    "chaos": Verb("tools.chaos.command", "chaos", "Break a test installation and prove that nothing was lost."),
    "dev": Verb("cli.dev", "dev", "For developers of Questline."),
    "load-test": Verb("tools.loadtest.command", "load_test", "Send many events and prove that none was lost."),
}


class _LazyGroup(TyperGroup):
    """A group that lists its verbs without importing them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return (name, _load(name), rest) if name in VERBS else (name, command, rest)


def _load(name: str) -> Any:
    """The real command behind a verb."""
    verb = VERBS[name]
    found: typer.Typer | Callable[..., Any] = getattr(import_module(verb.module), verb.name)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    single = typer.Typer(add_completion=False)
    single.command(name)(found)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_LazyGroup,
    help="Questline: events in, exact progress out.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _listed() -> None:
    """Stands for every verb in the list of verbs; ``_LazyGroup`` calls the real command."""


for _name, _verb in VERBS.items():
    app.command(_name, help=_verb.purpose)(_listed)


@app.callback()
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the release and exit.", is_eager=True)] = False,
) -> None:
    """Questline: events in, exact progress out."""
    if version:
        typer.echo(f"questline {release_of('questline')}")
        raise typer.Exit


def main() -> None:
    """Run one command; what goes wrong in a foreseen way is said in a line each, without a traceback.

    Exit codes: 1 for a failure, 2 for a wrong setting or option, 130 after Ctrl-C.
    """
    # What a command answers is alone on standard output; a process sets its logs up anew.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app(prog_name="questline")
    except QuestlineError as error:
        _say(str(error).splitlines())
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        faults = _setting_faults(error)
        if not faults:
            raise
        _say(faults)
        sys.exit(2)


def _say(lines: list[str]) -> None:
    for line in lines or ["failed"]:
        print(f"questline: {escaped(line)}", file=sys.stderr)  # noqa: T201 - errors go to stderr


def _setting_faults(error: ValueError) -> list[str]:
    """One line for each setting that pydantic refused; empty where the error is about anything else."""
    from pydantic import ValidationError  # noqa: PLC0415 - no verb shall pay for it before it is needed

    from config.settings import Settings  # noqa: PLC0415 - the same

    if not isinstance(error, ValidationError) or error.title != Settings.__name__:
        return []
    return [_setting_fault(fault) for fault in error.errors(include_url=False)]


def _setting_fault(fault: Any) -> str:
    name = str(fault["loc"][0]).upper() if fault["loc"] else "settings"
    shown = "" if "PASSWORD" in name or name.endswith(("_URL", "API_KEY")) else f" (is {str(fault['input'])[:100]!r})"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}{shown}"

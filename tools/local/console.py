"""Output of ``questline up``: a line for each thing done, a spinner meanwhile."""

import json
import shlex
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from rich.console import Console

from cli.client.data_folder import DataFolder
from cli.client.running import addresses
from config.settings import Settings
from models.secrets import without_passwords


class TerminalOutput:
    """A run's lines on standard output. A terminal that went away does not disturb the run."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False)
        self._spinner = self._console.status("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._spinner.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        with suppress(OSError):
            self._spinner.stop()
            self._console.print(line, markup=False, soft_wrap=True)

    def show_status(self, what: str) -> None:
        """What is being waited for; shown on a terminal only, a log would fill with it."""
        if self._console.is_terminal:
            with suppress(OSError):
                self._spinner.update(f"{what} ...")
                self._spinner.start()

    def welcome(self, settings: Settings, data: DataFolder) -> None:
        """The table of addresses and one command to try."""
        where = addresses(settings)
        table = {
            "HTTP": where["http"],
            "docs": f"{where['http']}/docs",
            "gRPC": where["grpc"],
            "metrics": where["metrics"],
            "Flower": without_passwords(where["flower"]),
            "PostgreSQL": without_passwords(where["database_url"]),
            "Redis": without_passwords(where["broker_url"]),
            "logs": str(data.logs),
        }
        lines = [f"  {name:<11} {value}" for name, value in table.items()]
        self.say(
            "\n".join(
                [
                    "",
                    "Questline is running; Ctrl-C stops it. `questline urls --show-passwords` spells out ****.",
                    "",
                    *lines,
                    "",
                    "Try it:",
                    "",
                    first_event(settings),
                    "",
                ]
            )
        )


def first_event(settings: Settings) -> str:
    """A command line, good to paste, that posts one login with an event id of its own."""
    event = {"event_id": f"first-{uuid4().hex[:12]}", "event_type": "login", "user_id": "alice"}
    url = f"{addresses(settings)['http']}/v1/events"
    # The shell fills in the key, so that none is shown here.
    key = "" if settings.api_key is None else '-H "Authorization: Bearer $API_KEY" '
    trust = "" if settings.tls_cert is None else f"--cacert {shlex.quote(str(settings.tls_cert))} "
    head = f"curl -sS {trust}{shlex.quote(url)} {key}-H 'Content-Type: application/json'"
    return f"{head} -d {shlex.quote(json.dumps(event))}"

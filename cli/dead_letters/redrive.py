"""Redriving from the command line: page by page through the running receiver."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tenacity import retry, retry_if_result, stop_after_attempt, wait_fixed

from cli.client.http import Answer, call
from cli.client.running import addresses
from config.settings import Settings
from models.database.dead_letters.filter import DeadLetterFilter

PAGE = 20
"""Dead letters of one request, so that it ends well before the client's time limit."""
_PATIENCE, _BETWEEN_SECONDS = 30, 2
"""Tries of a page while the receiver answers 503 or 429, and what is between them: a full journal empties."""


@dataclass(slots=True)
class Redriven:
    """What became of all dead letters."""

    redriven: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    left: int = 0

    @property
    def done(self) -> int:
        """How many dead letters were looked at."""
        return self.redriven + len(self.refused) + self.skipped

    def add(self, answer: dict[str, Any]) -> None:
        """Add the answer for one page."""
        self.redriven += answer["redriven"]
        self.refused += answer["refused"]
        self.skipped += answer["skipped"]
        self.left = answer["left"]

    def as_data(self) -> dict[str, Any]:
        """The report as JSON."""
        return {"redriven": self.redriven, "refused": self.refused, "skipped": self.skipped, "left": self.left}

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """The report for people."""
        yield f"{self.redriven} dead letters {'would be' if dry_run else 'were'} redriven"
        if self.skipped:
            yield f"{self.skipped} are messages, which cannot be redriven: their events are in the journal anyway"
        for refusal in self.refused:
            yield f"{refusal['id']} stays: {refusal['code']}: {refusal['reason']}"
        if self.left:
            yield f"{self.left} are left"


def redrive_dead_letters(
    settings: Settings,
    wanted: DeadLetterFilter,
    limit: int | None,
    *,
    dry_run: bool,
    on_done: Callable[[int, int], None],
) -> Redriven:
    """Redrive dead letters, the oldest first; ``on_done`` hears how many are done of how many.

    Raises:
        ReceiverUnavailableError: the receiver does not answer, or 503 or 429 for a minute; what is done is done.
        PermanentError: it refused the request.
    """
    url = f"{addresses(settings)['http']}/v1/dead-letters/redrive"
    body = _body(wanted) | {"dry_run": dry_run}
    report, cursor = Redriven(), None
    while limit is None or report.done < limit:
        size = PAGE if limit is None else min(PAGE, limit - report.done)
        answer = _ask(url, body | {"limit": size, "cursor": cursor}, settings.api_key).result(url)
        report.add(answer)
        on_done(report.done, report.done + report.left)
        cursor = answer["next"]
        if cursor is None:
            break
    return report


@retry(
    retry=retry_if_result(lambda answer: answer.status in {429, 503}),
    stop=stop_after_attempt(_PATIENCE),
    wait=wait_fixed(_BETWEEN_SECONDS),
    retry_error_callback=lambda tried: tried.outcome and tried.outcome.result(),
)
def _ask(url: str, body: dict[str, Any], key: str | None) -> Answer:
    return call("POST", url, body, key=key)


def _body(wanted: DeadLetterFilter) -> dict[str, Any]:
    given = {name: value for name, value in wanted._asdict().items() if value is not None}
    return given | {name: given[name].isoformat() for name in ("since", "until") if name in given}

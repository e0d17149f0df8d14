"""``questline progress USER``: a user's progress on every goal, as a table with bars."""

import json
from collections.abc import Iterator
from itertools import groupby
from time import sleep
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from config.settings import Settings
from worker.cli.client import call, in_path
from worker.services.running import addresses, running_settings

_WATCH_SECONDS = 0.5
_BAR_WIDTH = 12
_STYLES = {"completed": "bold green", "in_progress": "yellow"}


def progress(
    *,
    user: Annotated[str, typer.Argument(help="The user's id.")],
    tenant: Annotated[str | None, typer.Option(help="The tenant; AB_NAMESPACE or 'default' where not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as it came.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show hidden and secret goals like any other.")] = False,
) -> None:
    """Show a user's progress on every goal."""
    settings = running_settings(Settings())
    tenant = tenant or settings.ab_namespace or "default"
    url = f"{addresses(settings)['http']}/v1/users/{in_path(user)}/progress?tenant_id={in_path(tenant)}"
    url += "&reveal=true" if reveal else ""
    if as_json:
        typer.echo(json.dumps(_ask(url), indent=2, ensure_ascii=False))
    elif watch:
        _watch(url)
    else:
        Console().print(_table(_ask(url)))


def _watch(url: str) -> None:
    """Show the newest state until Ctrl-C, which ends the program elsewhere."""
    with Live(_table(_ask(url)), refresh_per_second=4) as live:
        while True:
            sleep(_WATCH_SECONDS)
            live.update(_table(_ask(url)))


def _ask(url: str) -> Any:
    return call("GET", url).result(url)


def _table(body: Any) -> Table:
    """Goals in the order of the answer, under the challenges they belong to, and parts under their goals."""
    # Ids come from outside: as Text they are shown, not read as Rich's markup.
    title = Text(f"{body['user_id']} in {body['tenant_id']}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Goal")
    table.add_column("Period", no_wrap=True)
    table.add_column("")
    table.add_column("Progress", justify="right", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    for challenge_id, goals in groupby(body["goals"], key=lambda goal: goal["challenge_id"]):
        table.add_row(Text(challenge_id, style="bold"))
        for goal in goals:
            for cells in _rows(goal, goal["name"], 2):
                table.add_row(*cells)
    return table


def _rows(shown: Any, name: str, indent: int) -> Iterator[tuple[RenderableType, ...]]:
    """The row of a goal or of a part, and the rows of its parts below it."""
    yield (
        Padding(Text(name), (0, 0, 0, indent)),
        Text(shown.get("period") or ""),
        *_numbers(shown["progress"], shown["target"]),
        _status(shown),
    )
    for part in shown.get("parts", ()):
        yield from _rows(part, part["goal_id"] or part["rule"] or "a hidden goal", indent + 2)


def _numbers(progress: float | None, target: float | None) -> tuple[RenderableType, RenderableType]:
    """The bar and the numbers; of a secret goal there are none."""
    if target is None:
        return Text(""), Text("")
    reached = float(progress or 0)
    bar = ProgressBar(total=target, completed=max(0.0, min(reached, float(target))), width=_BAR_WIDTH)
    return bar, Text(f"{'-' if progress is None else f'{reached:,.10g}'} / {target:,.10g}")


def _status(shown: Any) -> Text:
    """The status, and what else keeps a goal from being complete or seen."""
    status = shown["status"]
    if status != "completed":
        notes = [note for note in ("locked", "secret", "hidden") if shown.get(note)]
        if notes:
            return Text(f"{status} ({', '.join(notes)})", style=_STYLES.get(status, "dim"))
    return Text(status, style=_STYLES.get(status, "dim"))

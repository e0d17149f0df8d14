"""``questline progress USER``: progress on every goal, as a table with bars."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from time import sleep
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.client.http import call, user_url
from cli.client.running import running_settings
from cli.output import Plain, json_text, print_table
from config.settings import Settings

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
    url = user_url(settings, user, tenant, "progress") + ("&reveal=true" if reveal else "")
    ask = partial(_ask, url, settings.api_key)
    if as_json:
        typer.echo(json_text(ask(), indent=2))
    elif watch:
        _watch(ask)
    else:
        print_table(_table(ask()))


def _watch(ask: Callable[[], Any]) -> None:
    """Show the newest state until Ctrl-C, which ends the program elsewhere."""
    with Live(Plain(_table(ask())), refresh_per_second=4) as live:
        while True:
            sleep(_WATCH_SECONDS)
            live.update(Plain(_table(ask())))


def _ask(url: str, key: str | None) -> Any:
    return call("GET", url, key=key).result(url)


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
    rules = {goal["goal_id"]: goal.get("rule") for goal in body["goals"]}
    for challenge_id, goals in groupby(body["goals"], key=lambda goal: goal["challenge_id"]):
        table.add_row(Text(challenge_id, style="bold"))
        for goal in goals:
            for cells in _rows(goal, goal["name"], rules, 2):
                table.add_row(*cells)
    return table


def _rows(shown: Any, name: str, rules: dict[str, str | None], indent: int) -> Iterator[tuple[RenderableType, ...]]:
    """The row of a goal or of a part, and the rows of its parts below it."""
    yield (
        Padding(Text(name), (0, 0, 0, indent)),
        Text(shown.get("period") or ""),
        *_numbers(shown, shown.get("rule") or rules.get(shown["goal_id"]) or ""),
        _status(shown),
    )
    for part in shown.get("parts", ()):
        yield from _rows(part, part["goal_id"] or part.get("rule") or "a hidden goal", rules, indent + 2)


def _numbers(shown: Any, rule: str) -> tuple[RenderableType, RenderableType]:
    """The bar and the numbers; of a secret goal there are none."""
    progress, target = shown["progress"], shown["target"]
    if target is None:
        return Text(""), Text("")
    share = 1.0 if shown["status"] == "completed" else _share(progress, target, rule)
    bar = ProgressBar(total=1, completed=share, width=_BAR_WIDTH)
    return bar, Text(f"{'-' if progress is None else f'{progress:,.10g}'} / {target:,.10g}")


def _share(progress: float | None, target: float, rule: str) -> float:
    """How much of the way is done, from 0 to 1: a ``min`` comes down to its target, everything else goes up."""
    if progress is None or progress <= 0 or target <= 0:
        return 0.0
    return min(1.0, target / progress if rule.startswith("min(") else progress / target)


def _status(shown: Any) -> Text:
    """The status, and what else keeps a goal from being complete or seen."""
    status = shown["status"]
    if status != "completed":
        notes = [note for note in ("locked", "secret", "hidden") if shown.get(note)]
        if notes:
            return Text(f"{status} ({', '.join(notes)})", style=_STYLES.get(status, "dim"))
    return Text(status, style=_STYLES.get(status, "dim"))

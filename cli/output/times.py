"""Times as options of commands take them."""

from datetime import datetime

import typer


def read_datetime(text: str, option: str) -> datetime:
    """A time such as ``2026-12-01T00:00:00Z``; ``option`` is whose value it is.

    Raises:
        typer.BadParameter: it is no ISO 8601 date and time, or has no offset.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 date and time", param_hint=option) from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} needs an offset, such as Z or +01:00", param_hint=option)
    return at

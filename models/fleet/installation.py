"""The installation's record: its id, shared settings, and a change under way.

PostgreSQL keeps this record, Redis a copy of it (promise P13).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import uuid4

PROVISIONAL = 0
"""The revision of a record that Redis got while PostgreSQL was away: PostgreSQL's own replaces it."""


class Step(StrEnum):
    """How far a change of the shared settings has come that needs a quiet installation."""

    DRAINING = "draining"
    """Nothing more is accepted; what was accepted goes to PostgreSQL. May be given up."""
    SWITCHING = "switching"
    """The new values hold, and Redis forgets what was laid out by the old ones. Can only go on."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change under way."""

    values: Mapping[str, str]
    """The settings that change, with their new values."""
    step: Step


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """The record; a new revision for whatever changes in it."""

    installation_id: str
    revision: int
    values: Mapping[str, str]
    """The shared settings by their names, as texts."""
    former: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values that settings had before. An environment that still names one of these is out of date, not wrong."""
    change: Change | None = None

    def changed(self, values: Mapping[str, str], change: Change | None = None) -> "InstallationRecord":
        """The next revision, with these values in force."""
        former = {name: tuple(past) for name, past in self.former.items()}
        for name, value in values.items():
            past = [one for one in former.get(name, ()) if one != value]
            if name in self.values and self.values[name] != value:
                past.append(self.values[name])
            former[name] = tuple(dict.fromkeys(past))
        return replace(self, revision=self.revision + 1, values={**self.values, **values}, former=former, change=change)

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(asdict(self), sort_keys=True)


def new_record(values: Mapping[str, str], revision: int) -> InstallationRecord:
    """The record of an installation that has none."""
    return InstallationRecord(uuid4().hex, revision, dict(values))


def read_record(text: str | bytes) -> InstallationRecord:
    """Read what ``to_json`` wrote; fields added by a newer release are ignored.

    Raises:
        ValueError, KeyError, TypeError: it is no such text.
    """
    told: dict[str, Any] = json.loads(text)
    change = told.get("change")
    return InstallationRecord(
        installation_id=told["installation_id"],
        revision=told["revision"],
        values=told["values"],
        former={name: tuple(past) for name, past in told.get("former", {}).items()},
        change=None if change is None else Change(change["values"], Step(change["step"])),
    )

"""Settings that must be the same in every process of an installation (P13).

``SHARDS`` decides where a user is. ``MAX_LATENESS`` decides what is taken and how long ids are known, ``RECORD_TTL``
how long Redis knows a user, ``EVENT_RETENTION`` what PostgreSQL still has of that. Two processes that differ in one of
them count events twice or never, or let go what the other needs. Other settings bound or tune one process.
"""

from collections.abc import Mapping
from datetime import timedelta

from config.durations import format_duration
from config.settings import Settings

SHARED = ("SHARDS", "MAX_LATENESS", "RECORD_TTL", "EVENT_RETENTION")
NOT_SET = ""
"""The text of a setting without a value."""


def shared_values(settings: Settings) -> dict[str, str]:
    """The shared settings as texts, each value in one notation."""
    return {name: _text(getattr(settings, name.lower())) for name in SHARED}


def is_explicit(settings: Settings, name: str) -> bool:
    """Whether the environment names a value, so that the process does not just go by the installation's."""
    return name.lower() in settings.model_fields_set


def with_shared_values(settings: Settings, values: Mapping[str, str]) -> Settings:
    """The settings with the installation's values in the place of their own.

    Raises:
        ValueError: pydantic's, where they are no such settings, or contradict each other.
    """
    told = {name.lower(): values[name] or None for name in SHARED if name in values}
    read = Settings.model_validate(told)
    return settings.model_copy(update={name: getattr(read, name) for name in told})


def _text(value: int | timedelta | None) -> str:
    if value is None:
        return NOT_SET
    return format_duration(value) if isinstance(value, timedelta) else str(value)

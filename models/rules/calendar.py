"""Calendar arithmetic for goals with periods.

Lua never sees a calendar: it gets the keys and numbers made here.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from models.rules.rule import Period

PERIOD_MARGIN_US = 2 * 86_400_000_000
"""Rows of past periods stay in reach this much longer than an event for them is accepted: a batch may wait, and a
user's day begins up to 14 hours before or after UTC's."""

_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DATE = date(1970, 1, 1)
_MONDAY_SHIFT = 3  # 1970-01-01 was a Thursday


def microseconds(time: datetime) -> int:
    """Whole microseconds since the epoch, exactly (``datetime.timestamp`` would round)."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def microseconds_of(length: timedelta) -> int:
    """A duration in whole microseconds."""
    return length // timedelta(microseconds=1)


def to_datetime(microseconds_since_epoch: int) -> datetime:
    """The UTC time of a count of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)


def period_key(per: Period | None, at: int, zone: str = "UTC") -> str:
    """The key of the period that holds a time (microseconds) in a time zone; empty without periods.

    ``2026-11-21`` for a day, ``2026-W47`` for an ISO week, ``2026-11`` for a month.
    """
    return "" if per is None else _key(per, _local_day(at, zone))


def period_number(unit: Period, at: int, zone: str = "UTC") -> int:
    """The number of the day, ISO week or month that holds a time; what follows on each other differs by one."""
    day = _local_day(at, zone)
    if unit == "day":
        return day
    if unit == "week":
        return (day + _MONDAY_SHIFT) // 7
    local = _EPOCH_DATE + timedelta(days=day)
    return local.year * 12 + local.month - 1


def oldest_periods(now_us: int, window_us: int) -> dict[int, str]:
    """The oldest key of each kind that an event may still be applied to, by the length of such a key."""
    day = (now_us - window_us - PERIOD_MARGIN_US) // _DAY_US
    kinds: tuple[Period, ...] = ("day", "week", "month")
    return {len(key): key for key in (_key(per, day) for per in kinds)}


def _local_day(at: int, zone: str) -> int:
    """The local date as days since 1970-01-01; a zone that is not known counts as UTC."""
    if zone == "UTC":
        return at // _DAY_US
    local = to_datetime(at).astimezone(_zone(zone) or UTC)
    return (local.date() - _EPOCH_DATE).days


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory of the database, such as "Europe"
        return None


@lru_cache(maxsize=2048)
def _key(per: Period, day: int) -> str:
    local = _EPOCH_DATE + timedelta(days=day)
    if per == "day":
        return local.isoformat()
    if per == "month":
        return f"{local:%Y-%m}"
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02d}"

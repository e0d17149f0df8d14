"""Calendar arithmetic for goals with periods. Lua never sees a calendar: it gets the keys made here."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from models.rules.goals import Period

_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Whole microseconds since the epoch, exactly (``datetime.timestamp`` would round)."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds_since_epoch: int) -> datetime:
    """The UTC time of a count of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)


@lru_cache(maxsize=512)
def _day_key(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def period_key(per: Period | None, at: int) -> str:
    """The key of the period that holds a moment (microseconds): ``2026-11-21`` for a day, empty without periods."""
    return "" if per is None else _day_key(at // _DAY_US)

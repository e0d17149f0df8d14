"""Whether Redis and PostgreSQL are of one history."""

from collections.abc import Iterator, Sequence

from models.fleet.histories import Standing
from models.stores.standings import Difference, compare
from tools.doctor.registry import Installation, Remark, check, error, ok, warning


@check("history", "neither Redis nor PostgreSQL went back in time")
def history(installation: Installation) -> Iterator[Remark]:
    """What one store has of the other is of the same history."""
    found = compare(installation.state, installation.engine, installation.settings.shards)
    lacking, behind = found.of(Standing.DATABASE_BEHIND), found.of(Standing.STATE_BEHIND)
    if lacking:
        yield error(
            f"PostgreSQL is older than what was written to it, in {len(lacking)} shards by {_events(lacking)} events: "
            "nothing is accepted or flushed",
            "Run `questline recover`, or put a newer backup of PostgreSQL in its place.",
        )
    if behind:
        yield warning(
            f"Redis is older than PostgreSQL in {len(behind)} shards, and lacks at most {_events(behind)} events",
            "The next flush brings it up: look whether the maintenance worker runs, and for redis_went_back in logs.",
        )
    if not found.differences:
        yield ok("Redis and PostgreSQL are in step")


def _events(differences: Sequence[Difference]) -> int:
    return sum(difference.lost_at_most for difference in differences)

"""Keeps Redis and PostgreSQL to one history, checked in each commit (P12)."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis import Redis
from sqlalchemy import Engine

from models.declarations.metrics import HISTORY_RESETS
from models.errors import DatabaseBehindError
from models.fleet.histories import Standing
from models.state.fleet.histories import ShardHistories
from models.state.metrics import Metrics
from models.stores.standings import Comparison, Difference, compare
from tasks.histories.reset import ResetReport, ShardResetter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HistoryWatch:
    """Compares the stores of all shards; brings Redis up to PostgreSQL, and stops where it is the other way round."""

    redis: Redis
    engine: Engine
    histories: ShardHistories
    resetter: ShardResetter
    metrics: Metrics
    shards: int

    def compare(self) -> Comparison:
        """How the stores stand; raises what ``models.stores.standings.compare`` does."""
        return compare(self.redis, self.engine, self.shards)

    def check(self) -> None:
        """Compare, and reset the shards whose Redis is behind; all of them once PostgreSQL is not behind any more.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            HistoryChangedError: something went back in time meanwhile; the next check sees it.
            DatabaseBehindError: PostgreSQL went back in time, so nothing may be flushed.
        """
        found = self.compare()
        lacking = found.of(Standing.DATABASE_BEHIND)
        if lacking:
            if self.histories.mark_behind(self.shards):
                log.error("postgresql_went_back", **_told(lacking))
            raise DatabaseBehindError("PostgreSQL is older than what was flushed to it: run `questline recover`")
        if found.is_marked:  # records may have been loaded from the older one meanwhile: none is trusted
            self.reset(range(self.shards), set(Standing))
            if self.histories.clear_behind(self.shards):
                log.warning("postgresql_is_in_step_again")
            return
        if found.differences:
            new = [difference for difference in found.differences if not difference.state.is_closed]
            if new:
                log.error("redis_went_back", **_told(new))
            self.reset([difference.shard for difference in found.differences], {Standing.STATE_BEHIND})

    def recover(self) -> ResetReport:
        """Reset whatever is not in step, or was closed for it, and let all shards accept again.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            HistoryChangedError: something went back in time meanwhile.
        """
        found = self.compare()
        shards = [difference.shard for difference in found.differences]
        if found.is_marked:  # as in ``check``
            shards = list(range(self.shards))
        report = self.reset(shards, set(Standing)) if shards else ResetReport([])
        if not self.compare().of(Standing.DATABASE_BEHIND):
            self.histories.clear_behind(self.shards)
        return report

    def reset(self, shards: Sequence[int], standings: set[Standing]) -> ResetReport:
        """Reset those of these shards that stand so, or whose reset was cut off; raises as ``check`` does."""
        report = self.resetter.reset(shards, standings)
        if report.shards:
            self.metrics.count(HISTORY_RESETS, len(report.shards))
            log.warning("shards_reset", **report._asdict())
        return report


def _told(differences: Sequence[Difference]) -> dict[str, object]:
    return {
        "shards": [difference.shard for difference in differences],
        "postgresql_flushes": [difference.database.flushed.number for difference in differences],
        "redis_flushes": [difference.state.flushed.number for difference in differences],
        "events_lost_at_most": sum(difference.lost_at_most for difference in differences),
    }

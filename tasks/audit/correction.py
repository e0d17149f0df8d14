"""Users' progress computed anew from their events, for a reset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.database.event_log import User, open_log
from models.database.flush.items import ProgressRow
from models.database.repairs import ExtraRow
from models.errors import ConfigurationError
from tasks.audit.audit import Auditor
from tasks.audit.comparison import DROPPED, Comparer
from tasks.audit.replay import Replayed, nothing, replay
from tasks.audit.stored_progress import StoredUser, read_users
from tasks.histories.reset import Corrections


@dataclass(frozen=True, slots=True)
class LogCorrector:
    """Corrects users by the events and rules of one PostgreSQL."""

    auditor: Auditor

    def correct(self, users: Sequence[User]) -> Corrections:
        """See ``tasks.histories.reset.Corrector``."""
        corrections = Corrections([], [], 0)
        with open_log(self.auditor.engine) as events:
            try:
                comparer = self.auditor.comparer(events)
            except ConfigurationError:  # without rules there is nothing to go by
                return corrections._replace(left=len(users))
            replayed = {found.user: found for found in replay(comparer.matcher, events.events_of(users))}
            stored = read_users(events.connection, users)
        left = 0
        for user in users:
            left += not self._correct(comparer, replayed.get(user) or nothing(user), stored[user], corrections)
        return corrections._replace(left=left)

    def _correct(self, comparer: Comparer, replayed: Replayed, stored: StoredUser, corrections: Corrections) -> bool:
        comparison = comparer.compare(replayed, stored)
        if DROPPED in comparison.skipped:
            return False
        wrong = {(found.goal_id, found.period) for found in comparison.differences if found.what != "unlock"}
        rows = [replayed.rows[key] for key in wrong if key in replayed.rows]
        corrections.rows.extend(ProgressRow(*replayed.user, row) for row in rows)
        corrections.extra_rows.extend(_extra_rows(comparer, replayed, stored))
        return True


def _extra_rows(comparer: Comparer, replayed: Replayed, stored: StoredUser) -> Iterator[ExtraRow]:
    for key, row in stored.rows.items():
        if key not in replayed.rows and comparer.is_known(key):
            yield ExtraRow(*replayed.user, *key, row.record_version)

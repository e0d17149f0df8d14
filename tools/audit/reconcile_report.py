"""What a reconciliation looked at, found and did."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from models.database.event_log import User
from tasks.audit.audit import SHOWN
from tasks.audit.comparison import Difference
from tasks.audit.judgement import Judgements
from tools.audit.examination import UserDiff


class Left(NamedTuple):
    """A user who is not right, and why."""

    tenant_id: str
    user_id: str
    reason: str


@dataclass(slots=True)
class ReconcileReport:
    """What was looked at, found and done."""

    users: int = 0
    events: int = 0
    users_differing: int = 0
    users_repaired: int = 0
    rows_deleted: int = 0
    unlocks_added: int = 0
    difference_count: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first ``SHOWN``."""
    left_count: int = 0
    left: list[Left] = field(default_factory=list)
    """The first ``SHOWN``."""
    skipped: Counter[str] = field(default_factory=Counter)
    judgements: Judgements = field(default_factory=Judgements)
    """Events that are still judged by rules older than those of their time."""
    events_rejudged: int = 0
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether everything that was looked at is right now."""
        return not self.left_count and not self.judgements.count

    def leave(self, user: User, reason: str) -> None:
        """Note a user who is not right."""
        self.left_count += 1
        if len(self.left) < SHOWN:
            self.left.append(Left(*user, reason))

    def found(self, diff: UserDiff) -> None:
        """Note what is wrong with a user."""
        self.users_differing += 1
        self.difference_count += len(diff.differences)
        self.differences += diff.differences[: SHOWN - len(self.differences)]

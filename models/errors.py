"""Every error Questline raises, as one tree, split into "try again" and "do not".

QuestlineError
├── RetryableError
│   ├── StateUnavailableError
│   ├── DatabaseUnavailableError
│   │   ├── OnlyReadsError
│   │   └── UnsuitableDatabaseError
│   ├── BrokerUnavailableError
│   ├── JournalFullError
│   ├── HydrationRacedError
│   ├── HistoryChangedError
│   ├── DatabaseBehindError
│   ├── RulesUnreadableError
│   ├── RulesOutdatedError
│   ├── RateLimitedError
│   │   └── QuotaExceededError
│   ├── NotReadyError
│   └── ReceiverUnavailableError
└── PermanentError
    ├── ConfigurationError
    │   ├── InvalidChallengesError
    │   └── RulesTooCostlyError
    ├── UnauthenticatedError
    ├── AccessDeniedError
    ├── InvalidAttributesError
    ├── MalformedBatchError
    ├── MalformedDeadLetterError
    ├── ForeignKeyError
    └── ServiceFailedError

Drivers' errors enter the tree at the one place that talks to the driver, with the original as their cause.
"""

from collections.abc import Mapping
from enum import StrEnum


class QuestlineError(Exception):
    """Anything that Questline itself reports as wrong."""


class RetryableError(QuestlineError):
    """The same call may succeed later; nothing was lost."""


class StateUnavailableError(RetryableError):
    """The state Redis did not answer."""


class DatabaseUnavailableError(RetryableError):
    """PostgreSQL did not answer."""


class OnlyReadsError(DatabaseUnavailableError):
    """PostgreSQL answers, but it is a standby; the text holds no secrets."""


class UnsuitableDatabaseError(DatabaseUnavailableError):
    """PostgreSQL answers, but cannot be used before an operator changes it; the text holds no secrets.

    It counts as away while a process runs, so that it is not taken for a fault of the data. At its start it is refused.
    """


class BrokerUnavailableError(RetryableError):
    """The Celery broker did not take the message; the journal keeps the batch."""


AWAY = "does not answer"
"""Of a server, in words without secrets."""
SERVER_AWAY = (StateUnavailableError, DatabaseUnavailableError, BrokerUnavailableError)
"""A server did not answer. Other retryable errors mean that something must change first."""


class Bound(StrEnum):
    """What is bounded between accepting an event and having it in PostgreSQL; the values label a metric."""

    BYTES = "bytes"
    AGE = "age"
    DIRTY_USERS = "dirty_users"
    RECEIVER_MEMORY = "receiver_memory"
    TENANT_BYTES = "tenant_bytes"
    TENANT_DIRTY_USERS = "tenant_dirty_users"
    TENANT_MEMORY = "tenant_memory"
    STATE_MEMORY = "state_memory"
    TENANT_STATE_MEMORY = "tenant_state_memory"
    NEW_USERS = "new_users"
    DATABASE_BEHIND = "database_behind"
    LAYOUT = "layout"

    @property
    def explanation(self) -> str:
        """What has reached its bound, the setting of it, and what to look at."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Bound.BYTES: "accepted data that waits for workers or for PostgreSQL has reached JOURNAL_MAX_BYTES: look at "
    "questline_journal_bytes (workers) and questline_log_bytes (PostgreSQL)",
    Bound.AGE: "the oldest batch has waited for a worker longer than JOURNAL_MAX_AGE: look at "
    "questline_journal_waiting_seconds, and whether a worker takes these shards",
    Bound.DIRTY_USERS: "the users with changes that PostgreSQL lacks have reached DIRTY_MAX_USERS: look at "
    "questline_dirty_users and questline_flush_waiting_seconds",
    Bound.DATABASE_BEHIND: "PostgreSQL holds an older state than was written to it (questline_database_behind): an "
    "operator must run `questline recover`, or put a newer backup in its place",
    Bound.RECEIVER_MEMORY: "too many events wait in the receiver's memory for the journal: look at "
    "questline_commit_seconds",
    Bound.TENANT_BYTES: "this tenant's accepted data that waits for workers or for PostgreSQL has reached its share of "
    "JOURNAL_MAX_BYTES (others are not refused): look at questline_journal_bytes (workers) and questline_log_bytes "
    "(PostgreSQL)",
    Bound.TENANT_DIRTY_USERS: "this tenant's users with changes that PostgreSQL lacks have reached its share of "
    "DIRTY_MAX_USERS (others are not refused): look at questline_dirty_users and questline_flush_waiting_seconds",
    Bound.STATE_MEMORY: "the state Redis is close to its maxmemory: raise that, or look at what waits in it "
    "(questline_journal_bytes, questline_log_bytes, questline_dirty_users)",
    Bound.TENANT_STATE_MEMORY: "the state Redis is short of memory, and this tenant fills it by new users or by what "
    "waits (others are not refused): send less, or raise maxmemory; look at questline_users_evicted_total, "
    "questline_journal_bytes and questline_log_bytes",
    Bound.NEW_USERS: "this tenant has had as many new users in the last hour as NEW_USERS_PER_HOUR allows: events of "
    "other users are taken; look at questline_users_loaded_total, and try again in a minute",
    Bound.TENANT_MEMORY: "too many events of this tenant wait in the receiver's memory for the journal (others are not "
    "refused): look at questline_commit_seconds",
    Bound.LAYOUT: "the number of shards is being changed, for which nothing is accepted for some seconds: look at "
    "questline_installation_changing",
}


class JournalFullError(RetryableError):
    """Too much is accepted that PostgreSQL does not have; nothing more is taken until workers and flush catch up."""

    def __init__(self, full: Mapping[int, Bound] | Bound) -> None:
        bounds = [full] if isinstance(full, Bound) else sorted(set(full.values()))
        super().__init__("; ".join(bound.explanation for bound in bounds))
        self.full = {} if isinstance(full, Bound) else dict(full)
        """The shards that are full and the bound that each is at; empty where the receiver itself is."""
        self.bounds = tuple(bounds)
        """The bounds that were reached, each once."""


class NotReadyError(RetryableError):
    """A dependency cannot be used now; the text holds no secrets, without addresses or names."""


class HydrationRacedError(RetryableError):
    """A user's record kept changing while it was being loaded from PostgreSQL."""


class HistoryChangedError(RetryableError):
    """A store went back in time while a flush or a reset was under way; nothing of it was written."""


class DatabaseBehindError(RetryableError):
    """PostgreSQL is older than what was flushed to it: nothing is flushed until a person decides."""


class RulesUnreadableError(RetryableError):
    """PostgreSQL holds no publication of rules that this release can read; a newer one may."""


class RulesOutdatedError(RetryableError):
    """The shard's fence refuses a request: it was made by older rules, or there is no fence yet."""

    def __init__(self, revision: int | None) -> None:
        super().__init__("rules were published that this process has not read yet")
        self.revision = revision
        """The revision at the fence; None where there is no fence."""


class AttributesUnknownError(RetryableError):
    """Some users' attributes are in PostgreSQL only, which did not answer; those of others in the batch are known."""


class ReceiverUnavailableError(RetryableError):
    """The running product did not answer one of our own client commands."""


class RateLimitedError(RetryableError):
    """The caller's key has made as many requests as it may for now (HTTP 429, gRPC RESOURCE_EXHAUSTED)."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds until the key may make a request again."""


class QuotaExceededError(RateLimitedError):
    """A tenant or a key has sent as many events or bytes as it may for now."""


class PermanentError(QuestlineError):
    """The same call would fail again."""


class ConfigurationError(PermanentError):
    """A setting is missing or wrong."""


class InvalidChallengesError(ConfigurationError):
    """A challenges file has faults; ``faults`` holds one line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class RulesTooCostlyError(ConfigurationError):
    """One event would cost more under these rules than the settings allow."""


class UnauthenticatedError(PermanentError):
    """The caller shows no key, or none that is valid (HTTP 401, gRPC UNAUTHENTICATED)."""


class AccessDeniedError(PermanentError):
    """The caller's key does not allow this (HTTP 403, gRPC PERMISSION_DENIED)."""


class InvalidAttributesError(PermanentError):
    """A user's attributes cannot be taken as they are; the text names each one and the reason."""


class MalformedBatchError(PermanentError):
    """The bytes of a batch are not a list of events."""


class MalformedDeadLetterError(PermanentError):
    """The bytes of a dead letter are not what its kind says."""


class ForeignKeyError(PermanentError):
    """A user's key in the state Redis holds another application's value, which we do not replace."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found}, which Questline did not write: move it out of the way (RENAME, or DEL where it is of no use), "
            "then redrive this dead letter"
        )


class ServiceFailedError(PermanentError):
    """A server or process of the product could not be started."""

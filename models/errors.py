"""Every error Questline raises, as one tree, split into "try again" and "do not".

QuestlineError
├── RetryableError
│   ├── StateUnavailableError
│   ├── DatabaseUnavailableError
│   ├── BrokerUnavailableError
│   ├── JournalFullError
│   ├── HydrationRacedError
│   ├── RateLimitedError
│   └── ReceiverUnavailableError
└── PermanentError
    ├── ConfigurationError
    │   └── InvalidChallengesError
    ├── UnauthenticatedError
    ├── AccessDeniedError
    ├── InvalidAttributesError
    ├── MalformedBatchError
    ├── MalformedLetterError
    └── ServiceFailedError

Drivers' errors enter the tree at the one place that talks to the driver, with the original as their cause.
"""


class QuestlineError(Exception):
    """Anything that Questline itself reports as wrong."""


class RetryableError(QuestlineError):
    """The same call may succeed later; nothing was lost."""


class StateUnavailableError(RetryableError):
    """The state Redis did not answer."""


class DatabaseUnavailableError(RetryableError):
    """PostgreSQL did not answer."""


class BrokerUnavailableError(RetryableError):
    """The Celery broker did not take the message; the journal keeps the batch."""


class JournalFullError(RetryableError):
    """Too much is accepted that PostgreSQL does not have; nothing more is taken until workers and flush catch up."""

    def __init__(self, message: str, shards: frozenset[int] = frozenset()) -> None:
        super().__init__(message)
        self.shards = shards
        """The shards that are full; empty where all are."""

    def concerns(self, shards: set[int]) -> bool:
        """Whether any of these shards is full."""
        return not self.shards or bool(self.shards & shards)


class HydrationRacedError(RetryableError):
    """A user's record kept changing while it was being loaded from PostgreSQL."""


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


class PermanentError(QuestlineError):
    """The same call would fail again."""


class ConfigurationError(PermanentError):
    """A setting is missing or wrong."""


class InvalidChallengesError(ConfigurationError):
    """A challenges file has faults; ``faults`` holds one line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class UnauthenticatedError(PermanentError):
    """The caller shows no key, or none that is valid (HTTP 401, gRPC UNAUTHENTICATED)."""


class AccessDeniedError(PermanentError):
    """The caller's key does not allow this (HTTP 403, gRPC PERMISSION_DENIED)."""


class InvalidAttributesError(PermanentError):
    """A user's attributes cannot be taken as they are; the text names each one and the reason."""


class MalformedBatchError(PermanentError):
    """The bytes of a batch are not a list of events."""


class MalformedLetterError(PermanentError):
    """The bytes of a dead letter are not what its kind says."""


class ServiceFailedError(PermanentError):
    """A server or process of the product could not be started."""

"""Why something became a dead letter: codes that do not change.

docs/reference/dead-letters.md says what to do about each.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a dead letter; the values label a metric. Dead letters of another version may have others."""

    EVALUATION_FAILED = "evaluation_failed"
    WORKER_KILLED = "worker_killed"
    OUT_OF_ATTEMPTS = "out_of_attempts"
    MALFORMED_BATCH = "malformed_batch"
    UNDECODABLE_MESSAGE = "undecodable_message"
    UNKNOWN_TASK = "unknown_task"
    TASK_FAILED = "task_failed"
    REFUSED_BY_POSTGRESQL = "refused_by_postgresql"

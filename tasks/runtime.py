"""What the tasks of this process work with, built at the first task.

Built late on purpose: a prefork child must open its own connections, after the fork.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from models.database.partitions import EventPartitions
from models.errors import ConfigurationError
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from tasks.apply.applier import BatchApplier
from tasks.dead_letters.count import DepthKeeper
from tasks.dead_letters.undeliverable import UndeliverableDrain
from tasks.flush.flusher import Flusher
from tasks.former_journal import FormerJournal
from tasks.rules.publications import PublicationsWatcher
from tasks.rules.source import RuleSource


@dataclass(frozen=True, slots=True)
class Runtime:
    """The plain objects behind the tasks."""

    applier: BatchApplier
    flusher: Flusher
    undeliverable: UndeliverableDrain
    former_journal: FormerJournal
    rules: RuleSource
    partitions: EventPartitions
    dead_letters: DepthKeeper
    metrics: Metrics
    path: PathState
    watcher: PublicationsWatcher
    """Looks for new publications of rules."""


class _Holder:
    build: Callable[[], Runtime] | None = None
    built: Runtime | None = None
    lock = Lock()


def install(build: Callable[[], Runtime]) -> None:
    """Say how to build the runtime of this process."""
    _Holder.build, _Holder.built = build, None


def runtime() -> Runtime:
    """The runtime of this process, built at the first call.

    Raises:
        ConfigurationError: nothing was installed.
    """
    with _Holder.lock:
        if _Holder.built is None:
            if _Holder.build is None:
                raise ConfigurationError("no runtime is installed; start tasks through `questline worker`")
            _Holder.built = _Holder.build()
        return _Holder.built


def close() -> None:
    """End the threads at the end of the process, and push its last counts."""
    if _Holder.built is not None:
        _Holder.built.watcher.stop()
        _Holder.built.metrics.stop()
        _Holder.built = None

"""Faults at failpoints: the first process that reaches one breaks there."""

from collections.abc import Callable
from random import Random

from tools.chaos.faults.fault import Category, Fault, Heal
from tools.chaos.installation import Installation

_KILL, _PARENT, _PAUSE, _RAISE = "kill", "kill-parent", "pause 2", "raise"

FAILPOINTS: dict[str, tuple[str, ...]] = {
    "journal.appended": (_KILL, _PAUSE, _RAISE),
    "message.received": (_KILL, _PAUSE, _RAISE),
    "batches.taken": (_KILL, _PARENT, _PAUSE, _RAISE),
    "batch.applied": (_KILL, _PARENT, _PAUSE, _RAISE),
    "users.loaded": (_KILL, _PAUSE, _RAISE),
    "flush.read": (_KILL, _PAUSE, _RAISE),
    "flush.committed": (_KILL, _PAUSE, _RAISE),
    "flush.settled": (_KILL, _PAUSE, _RAISE),
    "batches.returned": (_KILL, _RAISE),
    "reset.closed": (_KILL,),
    "reset.emptied": (_KILL,),
    "reset.committed": (_KILL,),
}
"""What may happen at each failpoint. Only a worker's pool has a parent that may be killed."""
RESET = "reset."
"""The prefix of failpoints that are reached only after a store went back in time: see ``history.py``."""
RETURNED, _LEFT_BEHIND = "batches.returned", "batches.taken"
"""Raised at the second, batches are left pending: only so is anything given again, at the first."""
_HOLD, _LONG_HOLD = (2.0, 4.0), (6.0, 8.0)


def _at(failpoint: str, action: str) -> Callable[[Installation, Random], Heal]:
    def strike(installation: Installation, _random: Random) -> Heal:
        installation.arm(failpoint, action)
        if failpoint == RETURNED:
            installation.arm(_LEFT_BEHIND, _RAISE)

        def heal() -> bool:
            if failpoint == RETURNED:
                installation.disarm(_LEFT_BEHIND)
            return installation.disarm(failpoint)

        return heal

    return strike


FAILPOINT_FAULTS = tuple(
    Fault(
        f"{failpoint}:{action.partition(' ')[0]}",
        Category.PROCESSES,
        _LONG_HOLD if failpoint == RETURNED else _HOLD,
        _at(failpoint, action),
    )
    for failpoint, actions in FAILPOINTS.items()
    for action in actions
    if not failpoint.startswith(RESET)
)

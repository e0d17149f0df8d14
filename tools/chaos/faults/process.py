"""Faults of our own processes: killed, frozen, doubled, a wrong clock."""

import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from signal import SIGKILL, SIGSTOP

from redis.exceptions import RedisError

from models.failpoints import clock_name
from models.state.keys import FLUSH_LOCK
from tools.chaos.faults.fault import Category, Fault, Heal, done, missed
from tools.chaos.installation import Installation
from tools.chaos.parts import EXTRA_WORKER, OTHER_RECEIVER, OTHER_WORKER, SECOND_BEAT, SECOND_MAINTENANCE
from tools.chaos.processes import children, send
from tools.local.programs import BEAT, MAINTENANCE, RECEIVER

_CLOCK_STEPS_S = (-3600, 3600)
_LOCK_DELETIONS = 20
_LOCK_PAUSE_S = 0.05
_REFUSAL_S = 15.0
"""How long processes may take on a busy machine to see that they are not to run."""
REFUSED = 2
"""The exit code of a process whose settings are wrong."""


def _any_worker(installation: Installation, random: Random) -> str:
    return random.choice(sorted(installation.workers))


def _kill(name: str) -> Callable[[Installation, Random], Heal]:
    def strike(installation: Installation, _random: Random) -> Heal:
        return done if installation.signal(name, SIGKILL) else missed

    return strike


def _kill_worker(installation: Installation, random: Random) -> Heal:
    return _kill(_any_worker(installation, random))(installation, random)


def _kill_child(installation: Installation, random: Random) -> Heal:
    pool = children(installation.pid(_any_worker(installation, random)))
    killed = [child for child in pool if send(child, SIGKILL)]
    return done if killed else missed


def _freeze_and_kill(installation: Installation, random: Random) -> Heal:
    """What Redis gives to the frozen worker, which waits in BRPOP, dies with it."""
    pid = installation.pid(_any_worker(installation, random))
    return (lambda: send(pid, SIGKILL)) if send(pid, SIGSTOP) else missed


def _beside(name: str) -> Callable[[Installation, Random], Heal]:
    def strike(installation: Installation, _random: Random) -> Heal:
        installation.want(name)

        def heal() -> bool:
            was_up = installation.states()[name].is_up
            installation.unwant(name)
            return was_up

        return heal

    return strike


def _mix_shards(installation: Installation, _random: Random) -> Heal:
    """A receiver and a worker that go by another number of shards are started; let in, they would do harm."""
    installation.begin(OTHER_RECEIVER, OTHER_WORKER)

    def heal() -> bool:
        deadline = time.monotonic() + _REFUSAL_S
        while not (refused := _are_refused(installation)) and time.monotonic() < deadline:
            time.sleep(_LOCK_PAUSE_S)
        installation.unwant(OTHER_RECEIVER, OTHER_WORKER)  # both servers may have been away all the time
        return refused

    return heal


def _are_refused(installation: Installation) -> bool:
    states = installation.states()
    others = [states[name] for name in (OTHER_RECEIVER, OTHER_WORKER)]
    return all(other.state == "EXITED" and other.exit_status == REFUSED for other in others)


def _remove_worker(installation: Installation, random: Random) -> Heal:
    name = _any_worker(installation, random)
    installation.unwant(name)

    def heal() -> bool:
        installation.want(name)
        return True

    return heal


def _delete_flush_lock(installation: Installation, _random: Random) -> Heal:
    """A flusher under way does not notice, and the next tick starts another beside it."""
    deleted = 0
    for _ in range(_LOCK_DELETIONS):
        with suppress(RedisError):  # it may be away just now
            deleted += int(installation.redis.delete(FLUSH_LOCK))
        time.sleep(_LOCK_PAUSE_S)
    return done if deleted else missed


def _step_clock(installation: Installation, random: Random) -> Heal:
    shards = installation.workers[_any_worker(installation, random)]
    file = installation.failpoints / f"clock.{clock_name(f'worker {shards}')}"
    file.write_text(str(random.choice(_CLOCK_STEPS_S)))

    def heal() -> bool:
        file.unlink()
        return True

    return heal


_SHORT, _LONG = (0.5, 2.0), (5.0, 10.0)

PROCESS_FAULTS = (
    Fault("worker-killed", Category.PROCESSES, _SHORT, _kill_worker),
    Fault("worker-child-killed", Category.PROCESSES, _SHORT, _kill_child),
    Fault("worker-frozen-in-brpop-and-killed", Category.PROCESSES, (1.0, 2.0), _freeze_and_kill),
    Fault("maintenance-killed", Category.PROCESSES, _SHORT, _kill(MAINTENANCE)),
    Fault("beat-killed", Category.PROCESSES, _SHORT, _kill(BEAT)),
    Fault("receiver-killed", Category.PROCESSES, _SHORT, _kill(RECEIVER)),
    Fault("two-beats", Category.PROCESSES, _LONG, _beside(SECOND_BEAT)),
    Fault("mixed-shards", Category.PROCESSES, _LONG, _mix_shards),
    Fault("two-flushers", Category.PROCESSES, _LONG, _beside(SECOND_MAINTENANCE)),
    Fault("flush-lock-deleted", Category.PROCESSES, _SHORT, _delete_flush_lock),
    Fault("worker-added-and-removed", Category.PROCESSES, _LONG, _beside(EXTRA_WORKER)),
    Fault("worker-removed-and-added", Category.PROCESSES, _LONG, _remove_worker),
    Fault("clock-stepped", Category.PROCESSES, _LONG, _step_clock),
)

"""Faults of Redis and PostgreSQL: killed, frozen, cut off, a full disk."""

import resource
from collections.abc import Callable
from random import Random
from signal import SIGKILL, SIGQUIT, SIGTERM, Signals

from redis.exceptions import RedisError

from tools.chaos.faults.fault import Category, Fault, Heal, done, missed
from tools.chaos.installation import Installation
from tools.chaos.parts import POSTGRES, REDIS
from tools.chaos.processes import freeze, thaw
from tools.chaos.proxy import CuttingProxy
from tools.chaos.replica import REPLICA

_MOST_CUT = 4
_CUT_AFTER = (0, 1, 5, 30, 200)


def _signalled(name: str, number: Signals) -> Callable[[Installation, Random], Heal]:
    """The supervisor starts the server again at once; on its data, as far as it was written."""

    def strike(installation: Installation, _random: Random) -> Heal:
        return done if installation.signal(name, number) else missed

    return strike


def _freeze_postgres(installation: Installation, _random: Random) -> Heal:
    pid = installation.pid(POSTGRES)
    if not pid:
        return missed
    family = freeze(pid)

    def heal() -> bool:
        thaw(family)
        return True

    return heal


def _stop_postgres(installation: Installation, _random: Random) -> Heal:
    installation.unwant(POSTGRES)

    def heal() -> bool:
        installation.want(POSTGRES)
        return True

    return heal


def _cut(proxy_of: Callable[[Installation], CuttingProxy]) -> Callable[[Installation, Random], Heal]:
    def strike(installation: Installation, random: Random) -> Heal:
        proxy = proxy_of(installation)
        before = proxy.cuts
        proxy.cut(random.randint(1, _MOST_CUT), after=random.choice(_CUT_AFTER))

        def heal() -> bool:
            proxy.cut(0, after=0)
            return proxy.cuts > before

        return heal

    return strike


def _fill_disk(installation: Installation, _random: Random) -> Heal:
    """Redis may let no file grow: for its append-only file that is as if the disk were full.

    Its SIGXFSZ is ignored, for it inherits that from the supervisor, which is Python.
    """
    pid = installation.pid(REDIS)
    if not pid:
        return missed
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))

    def heal() -> bool:
        was_full = _refuses_writes(installation)
        if installation.pid(REDIS) == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        return was_full

    return heal


def _refuses_writes(installation: Installation) -> bool:
    try:
        return bool(installation.redis.info("persistence").get("aof_last_write_status") == "err")
    except RedisError:
        return True  # it did not survive it, which is a restart


def _fail_over(installation: Installation, _random: Random) -> Heal:
    """Another server is the master behind the same address, as when a managed service is maintained."""
    replica, proxy = installation.replica, installation.redis_proxy
    installation.want(REPLICA)
    taken_over = replica.take_over()
    if taken_over:
        proxy.point_at(replica.port)

    def heal() -> bool:
        if taken_over:
            replica.give_back()
            proxy.point_at(replica.master_port)
        installation.unwant(REPLICA)
        return taken_over

    return heal


SERVER_FAULTS = (
    Fault("redis-killed", Category.SERVERS, (1.0, 2.0), _signalled(REDIS, SIGKILL)),
    Fault("redis-restarted", Category.SERVERS, (1.0, 2.0), _signalled(REDIS, SIGTERM)),
    Fault("redis-reply-cut", Category.SERVERS, (0.5, 1.0), _cut(lambda installation: installation.redis_proxy)),
    Fault("redis-disk-full", Category.SERVERS, (2.0, 5.0), _fill_disk),
    Fault("redis-failed-over", Category.SERVERS, (2.0, 10.0), _fail_over),
    Fault("postgres-stopped", Category.SERVERS, (3.0, 30.0), _stop_postgres),
    Fault("postgres-frozen", Category.SERVERS, (3.0, 30.0), _freeze_postgres),
    Fault("postgres-crashed", Category.SERVERS, (1.0, 3.0), _signalled(POSTGRES, SIGQUIT)),
    Fault("postgres-reply-cut", Category.SERVERS, (0.5, 1.5), _cut(lambda installation: installation.postgres_proxy)),
)

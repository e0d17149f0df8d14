"""The one way to run a Lua script.

A script is sent by its digest. A server that does not know it (it was restarted, a replica took over, it was told to
flush its scripts) has run nothing, so the same call is sent again with the script's text: one command, which nothing
can come in between. redis-py's own ``Script`` loads first and then calls again, and in a pipeline asks beforehand; both
fail where the script goes away in between.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import NoScriptError
from redis.lock import Lock

from models.state.lua_source import script_source


class Script:
    """A script bound to a client; contacts no server until it is called."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Any], client: Redis | None = None) -> Any:
        """What the script returns; ``client`` stands in for the one it is bound to."""
        redis = client or self._redis
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return redis.eval(self.source, len(keys), *keys, *args)


class ScriptCall(NamedTuple):
    """A call that goes to the server together with others."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]


def call_all(redis: Redis, calls: Sequence[ScriptCall]) -> list[Any]:
    """What each call returns, in their order, in one round trip. They do not see each other and may run in any order.

    Raises:
        ResponseError: what the first call that failed was refused for; the others were made.
    """
    return call_replicated(redis, calls, replicas=0, timeout_ms=0)[0]


def call_replicated(
    redis: Redis, calls: Sequence[ScriptCall], *, replicas: int, timeout_ms: int
) -> tuple[list[Any], int]:
    """As ``call_all``, and how many replicas have what the calls wrote; waits until ``replicas`` have it, or in vain.

    Raises:
        ResponseError: what the first call that failed was refused for; the others were made.
    """
    wait = (replicas, timeout_ms)
    with redis.pipeline(transaction=False) as pipeline:
        for script, keys, args in calls:
            pipeline.evalsha(script.sha, len(keys), *keys, *args)
        replies, confirmed = _executed(pipeline, wait)
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        for index in unknown:
            script, keys, args = calls[index]
            pipeline.eval(script.source, len(keys), *keys, *args)
        if unknown:
            again, confirmed_again = _executed(pipeline, wait)
            confirmed = min(confirmed, confirmed_again)
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies, confirmed


def _executed(pipeline: Any, wait: tuple[int, int]) -> tuple[list[Any], int]:
    """The replies, errors among them, and the number of replicas that have them; asked on the same connection, for
    WAIT looks at what its own connection has written.
    """
    wanted, timeout_ms = wait
    if not wanted:
        return pipeline.execute(raise_on_error=False), 0
    pipeline.wait(wanted, timeout_ms)
    *replies, confirmed = pipeline.execute(raise_on_error=False)
    if isinstance(confirmed, Exception):
        raise confirmed
    return replies, confirmed


class StateLock(Lock):
    """redis-py's lock with scripts that outlive a server's memory of them."""

    lua_release: Any = None
    lua_extend: Any = None
    lua_reacquire: Any = None

    def register_scripts(self) -> None:
        """Called by redis-py, once a lock."""
        self.lua_release = Script(self.redis, self.LUA_RELEASE_SCRIPT)
        self.lua_extend = Script(self.redis, self.LUA_EXTEND_SCRIPT)
        self.lua_reacquire = Script(self.redis, self.LUA_REACQUIRE_SCRIPT)


def register(redis: Redis, name: str) -> Script:
    """The script ``lua/<name>.lua`` bound to a client; contacts no server."""
    return Script(redis, script_source(name))

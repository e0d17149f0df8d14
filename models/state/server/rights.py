"""The rights that our user of Redis needs, checked without using them.

The commands are queued in a transaction that is discarded: Redis checks rights to commands, keys and channels when it
queues them. ``ACL DRYRUN`` would need more rights than the product itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

Command = tuple[str, ...]

_SHARD_KEY, _OTHER_KEY = "ql:{s00}:rights", "ql:rights"
_ARGUMENTS: dict[str, Command] = {
    "DECRBY": ("1",),
    "DEL": (),
    "EXISTS": (),
    "GET": (),
    "GETEX": (),
    "HDEL": ("f",),
    "HEXISTS": ("f",),
    "HGET": ("f",),
    "HGETALL": (),
    "HINCRBY": ("f", "1"),
    "HINCRBYFLOAT": ("f", "1"),
    "HKEYS": (),
    "HLEN": (),
    "HMGET": ("f",),
    "HRANDFIELD": (),
    "HSET": ("f", "v"),
    "HSETNX": ("f", "v"),
    "INCR": (),
    "INCRBY": ("1",),
    "LLEN": (),
    "LPUSH": ("v",),
    "LRANGE": ("0", "0"),
    "LREM": ("1", "v"),
    "MGET": (),
    "PERSIST": (),
    "PEXPIRE": ("1",),
    "PTTL": (),
    "RPOP": (),
    "SADD": ("v",),
    "SCARD": (),
    "SET": ("v",),
    "SMISMEMBER": ("v",),
    "TYPE": (),
    "XACK": ("g", "0-1"),
    "XADD": ("*", "f", "v"),
    "XCLAIM": ("g", "c", "0", "0-1"),
    "XDEL": ("0-1",),
    "XLEN": (),
    "XPENDING": ("g",),
    "XRANGE": ("-", "+"),
    "ZADD": ("1", "m"),
    "ZCARD": (),
    "ZMSCORE": ("m",),
    "ZPOPMIN": (),
    "ZRANDMEMBER": (),
    "ZRANGE": ("0", "0"),
    "ZRANGEBYSCORE": ("0", "0"),
    "ZREM": ("m",),
    "ZREMRANGEBYSCORE": ("0", "0"),
    "ZSCORE": ("m",),
}
"""What follows the key, by the commands that we and our scripts call on one key."""
_WITH_A_VERB: Sequence[Command] = (("XGROUP", "CREATE", _SHARD_KEY, "g", "0"), ("XINFO", "GROUPS", _SHARD_KEY))
ON_A_KEY = frozenset((*_ARGUMENTS, *(command[0] for command in _WITH_A_VERB)))
_EVALUATIONS = {"EVAL": "return 1", "EVALSHA": "0" * 40}
_SCRIPTS: Sequence[Command] = (
    *((name, script, "1", _SHARD_KEY) for name, script in _EVALUATIONS.items()),
    ("SCRIPT", "LOAD", "return 1"),
    ("SCRIPT", "EXISTS", "0" * 40),
    ("TIME",),
    ("PING",),
)
STATE_COMMANDS: Sequence[Command] = (
    *((name, _SHARD_KEY, *arguments) for name, arguments in _ARGUMENTS.items()),
    *_WITH_A_VERB,
    ("XREADGROUP", "GROUP", "g", "c", "STREAMS", _SHARD_KEY, ">"),
    ("SET", _OTHER_KEY, "v"),
    *_SCRIPTS,
)
"""What is asked of the state Redis."""
_BINDINGS = ("_kombu.binding.celeryev", "_kombu.binding_permanent.celeryev")
_LISTS = ("events.0", "maintenance", "rights.reply.celery.pidbox")


def broker_commands(database: int) -> Sequence[Command]:
    """What is asked of the broker, most of it by kombu."""
    control, events = f"/{database}.celery.pidbox", f"/{database}.celeryev/"
    return (
        *((name, key, *more) for key in _LISTS for name, more in _ON_LISTS.items()),
        *(("SADD", key, "v") for key in _BINDINGS),
        *(("SREM", key, "v") for key in _BINDINGS),
        *(("SMEMBERS", key) for key in _BINDINGS),
        ("ZADD", "_kombu.binding_deadlines", "1", "m"),
        ("HSET", "unacked", "f", "v"),
        ("HGET", "unacked", "f"),
        ("HDEL", "unacked", "f"),
        ("ZADD", "unacked_index", "1", "m"),
        ("ZREM", "unacked_index", "m"),
        ("ZRANGE", "unacked_index", "0", "0"),
        ("SET", "unacked_mutex", "v"),
        ("LLEN", "celeryev.rights"),
        ("LPUSH", "ql:poison", "v"),
        ("SET", "ql:probe", "v"),
        ("PUBLISH", control, "v"),
        ("PUBLISH", f"{events}rights", "v"),
        # A pattern that is subscribed to must stand among the user's channels as it is.
        ("PSUBSCRIBE", control),
        ("PSUBSCRIBE", f"{events}*"),
        ("PUNSUBSCRIBE", control),
        *((name, script, "1", "_kombu.binding_deadlines") for name, script in _EVALUATIONS.items()),
    )


_ON_LISTS: dict[str, Command] = {"BRPOP": ("1",), "LPUSH": ("v",), "LLEN": (), "DEL": (), "RPUSH": ("v",)}


def missing_rights(redis: Redis, commands: Iterable[Command]) -> list[str]:
    """What our user may not do, as the rules of an ACL that would allow it, each once.

    Raises:
        redis.exceptions.RedisError: the server did not answer.
    """
    pool = redis.connection_pool
    connection: Any = pool.get_connection()
    try:
        # Outside a transaction the commands would be executed.
        if (fault := _ask(connection, ("MULTI",))) is not None:
            return [_rule(("MULTI",), fault)]
        rules = [_rule(command, fault) for command, fault in _queue(connection, list(commands)) if fault is not None]
        return list(dict.fromkeys(rules))
    finally:
        connection.disconnect()
        pool.release(connection)


def _queue(connection: Any, commands: Sequence[Command]) -> list[tuple[Command, NoPermissionError | None]]:
    connection.send_packed_command(connection.pack_commands(commands))
    return [(command, _refusal(connection)) for command in commands]


def _ask(connection: Any, command: Command) -> NoPermissionError | None:
    connection.send_command(*command)
    return _refusal(connection)


def _refusal(connection: Any) -> NoPermissionError | None:
    try:
        connection.read_response()
    except NoPermissionError as error:
        return error
    except RedisError as error:
        if not connection.is_connected:
            raise
        del error  # refused for another reason, which other checks tell
    return None


def _rule(command: Command, fault: NoPermissionError) -> str:
    text = str(fault)
    if "channel" in text:
        return f"channels &{command[1].replace('/rights', '/*')}"
    if "run the" not in text and "key" in text:
        return f"keys ~{_key_pattern(command)}"
    name = command[0].lower()
    return f"commands +{name}|{command[1].lower()}" if name in _CONTAINERS else f"commands +{name}"


_CONTAINERS = ("script", "xgroup", "xinfo")
"""Commands whose first word is a verb of theirs."""
_PATTERNS = {
    "ql:": "ql:*",
    "events.": "events.*",
    "maintenance": "maintenance*",
    "unacked": "unacked*",
    "_kombu.": "_kombu.*",
    "celeryev.": "celeryev.*",
}


def _key_pattern(command: Command) -> str:
    key = next((word for word in command[1:] if word.startswith(tuple(_PATTERNS))), command[1])
    for start, pattern in _PATTERNS.items():
        if key.startswith(start):
            return pattern
    return "*.celery.pidbox*"

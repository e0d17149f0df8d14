"""The Lua scripts by name, read from the package as registered redis-py scripts.

A registered script is sent by its digest and loaded again whenever the server has forgotten it, in pipelines too.
"""

from importlib.resources import files

from redis import Redis
from redis.commands.core import Script

SCRIPTS = tuple(
    sorted(
        path.name.removesuffix(".lua") for path in (files("models.hot") / "lua").iterdir() if path.name.endswith(".lua")
    )
)


def script_source(name: str) -> str:
    """The text of ``lua/<name>.lua``."""
    return (files("models.hot") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def register(redis: Redis, name: str) -> Script:
    """The script ``lua/<name>.lua`` bound to a client; contacts no server."""
    return redis.register_script(script_source(name))

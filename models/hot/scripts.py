"""The Lua scripts by name, read from the package as registered redis-py scripts.

A registered script is sent by its digest and loaded again whenever the server has forgotten it, in pipelines too.
"""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

from redis import Redis
from redis.commands.core import Script


def _names(folder: Traversable) -> tuple[str, ...]:
    return tuple(sorted(path.name.removesuffix(".lua") for path in folder.iterdir() if path.name.endswith(".lua")))


_LUA = files("models.hot") / "lua"
SCRIPTS = _names(_LUA)
"""The scripts."""
PARTS = _names(_LUA / "apply")
"""The parts that ``apply_events`` includes."""


_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)


def script_source(name: str) -> str:
    """The text of ``lua/<name>.lua``, each line ``-- include: <part>`` replaced by that part's text."""
    return _INCLUDE.sub(lambda line: part_source(line[1]), _read(f"{name}.lua"))


def part_source(name: str) -> str:
    """The text of ``lua/apply/<name>.lua``, a part of ``apply_events.lua``."""
    return _read(f"apply/{name}.lua")


def _read(path: str) -> str:
    return (_LUA / path).read_text(encoding="utf-8")


def register(redis: Redis, name: str) -> Script:
    """The script ``lua/<name>.lua`` bound to a client; contacts no server."""
    return redis.register_script(script_source(name))

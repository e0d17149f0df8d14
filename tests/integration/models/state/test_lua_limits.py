"""Lua's limit of 200 local variables in a function: the scripts stay far from it."""

import pytest
from redis.exceptions import ResponseError

from models.state.lua_source import SCRIPTS
from models.state.progress.script_text import script_text

LUA_LIMIT, OURS = 200, 150


def _compiles(redis, name, more):
    """Whether a server takes a script that has so many local variables more at its top level."""
    names = ", ".join(f"extra_{number}" for number in range(more))
    try:
        redis.script_load(f"local {names}\n{script_text(name)}")
    except ResponseError as error:
        if "200 local variables" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_at_most_150_local_variables_at_its_top_level(redis, name):
    assert _compiles(redis, name, LUA_LIMIT - OURS)


def test_the_limit_is_what_the_server_holds(redis):
    assert not _compiles(redis, "apply_events", LUA_LIMIT)

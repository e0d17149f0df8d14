"""A script's header is its contract: it must name every key and argument that the code uses, and no other."""

import re

import pytest

from models.hot.scripts import SCRIPTS, script_source


def _header_and_code(name):
    header, code = script_source(name).split("]]", 1)
    assert header.startswith("--[[\n"), name
    return header, code


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("vector", ["KEYS", "ARGV"])
def test_the_header_names_the_keys_and_arguments_of_the_code(name, vector):
    header, code = _header_and_code(name)
    documented = {int(number) for number in re.findall(rf"^{vector}\[(\d+)(?:\.\.\.)?\]", header, re.MULTILINE)}
    used = {int(number) for number in re.findall(rf"{vector}\[(\d+)\]", code)}
    open_ended = bool(re.search(rf"^{vector}\[\d+\.\.\.\]", header, re.MULTILINE))
    assert documented == set(range(1, max(documented) + 1)), f"{name}: a gap in the numbering of {vector}"
    assert used <= documented
    assert documented - used <= ({max(documented)} if open_ended else set()), f"{name}: documented but unused"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_returns_and_checks_its_counts_first(name):
    header, code = _header_and_code(name)
    assert re.search(r"^RETURNS ", header, re.MULTILINE)
    assert code.strip().startswith("assert(#KEYS")
    assert "#ARGV" in code.strip().splitlines()[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_builds_no_key_and_uses_no_command_newer_than_redis_7(name):
    _, code = _header_and_code(name)
    assert "ql:" not in code
    assert not re.search(r"HPEXPIRE|HSETEX|XACKDEL|XDELEX|WAITAOF|'SCAN'|'KEYS'", code)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_reply_tested_for_truth_is_compared(name):
    """0 is true in Lua: ``if redis.call(...) then`` is always a mistake for integer replies."""
    _, code = _header_and_code(name)
    assert not re.search(r"if redis\.call\([^)]*\) then", code)

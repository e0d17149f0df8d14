"""A script's header is its contract: it must name every key and argument that the code uses, and no other.

A part of a script has one too: what it defines for the others.
"""

import re

import pytest

from models.state.lua_source import PARTS, SCRIPTS, source_of
from models.state.progress.script_text import script_text

FRAME = "apply_events"
KEYWORDS = frozenset(
    """and break do else elseif end false for function if in local nil not or repeat return then true until
    while""".split()  # noqa: SIM905 - a list of words is read as words
)
GIVEN = KEYWORDS | frozenset(
    """redis KEYS ARGV cmsgpack math table string ipairs pairs type unpack assert error pcall tonumber
    tostring""".split()  # noqa: SIM905
)
"""Words that mean the same in every file: Lua's own and those of Redis."""


def _header_and_code(name, source=script_text):
    header, code = source(name).split("]]", 1)
    assert header.startswith("--[[\n"), name
    return header, code


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("vector", ["KEYS", "ARGV"])
def test_the_header_names_the_keys_and_arguments_of_the_code(name, vector):
    header, code = _header_and_code(name)
    documented = {int(number) for number in re.findall(rf"^{vector}\[(\d+)(?:\.\.\.)?\]", header, re.MULTILINE)}
    used = {int(number) for number in re.findall(rf"{vector}\[(\d+)\]", code)}
    open_ended = bool(re.search(rf"^{vector}\[\d+\.\.\.\]", header, re.MULTILINE))
    assert documented == set(range(1, max(documented, default=0) + 1)), f"{name}: a gap in the numbering of {vector}"
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


def _listed(header, title):
    """The names that a part's header lists under a title, over as many lines as it takes."""
    listing = re.search(rf"^{title} +(.+?)(?=^[A-Z]+ |\Z)", header, re.MULTILINE | re.DOTALL)
    assert listing, title
    return {name.strip() for name in listing[1].split(",")} - {"nothing"}


def _words(code):
    """The names that code uses, without comments, texts, fields after a dot, and keys of tables."""
    bare = re.sub(r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'", " ", code, flags=re.DOTALL)
    bare = re.sub(r"(?<=[{,])\s*\w+ = ", " ", bare)
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", bare))


def _top_level(code):
    """The names that a part makes known to what follows it."""
    found = set()
    for names in re.findall(r"^local (?!function)([\w, ]+)", code, re.MULTILINE):
        found |= {name.strip() for name in names.split(",")}
    return found | set(re.findall(r"^local function (\w+)", code, re.MULTILINE))


@pytest.mark.parametrize("name", PARTS)
def test_a_part_defines_what_its_header_says_and_others_use_nothing_else_of_it(name):
    header, code = _header_and_code(name, source_of)
    defined = _listed(header, "DEFINES")
    assert defined <= _top_level(code)
    others = [_header_and_code(other, source_of)[1] for other in PARTS if other != name]
    others += [_header_and_code(script, source_of)[1] for script in SCRIPTS]
    used = set().union(*(_words(other) - _locals(other) for other in others))
    hidden = _top_level(code) - defined
    assert not used & hidden, "used elsewhere, though the header does not offer it"
    assert defined <= used, "offered, but nobody uses it"


def _locals(code):
    """Every name that code declares itself: by local, as a parameter, or as a loop's variable."""
    bare = re.sub(r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'", " ", code, flags=re.DOTALL)
    found = set()
    for names in re.findall(r"\blocal (?!function)([\w, ]+)", bare):
        found |= {name.strip() for name in names.split(",")}
    found |= set(re.findall(r"\blocal function (\w+)", bare))
    for names in re.findall(r"\bfunction[ \w.]*\(([^)]*)\)", bare) + re.findall(r"\bfor ([\w, ]+?) (?:in|=)", bare):
        found |= {name.strip() for name in names.split(",")}
    for names in re.findall(r"\bfor ([\w, ]+?) =", bare):
        found |= {name.strip() for name in names.split(",")}
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_no_name_that_nothing_defines(name):
    """Redis would say so only when that line is reached."""
    _, code = _header_and_code(name)
    assert _words(code) - _locals(code) - GIVEN == set()

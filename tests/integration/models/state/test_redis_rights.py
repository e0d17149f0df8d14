"""A user of an ACL: the rules of the docs are enough, and what is missing is named before anything is accepted."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from cli.client.ports import LOOPBACK
from config.settings import Settings
from models.errors import ConfigurationError
from models.state.checks.requirements import require_redis
from models.state.connection import connect_state
from models.state.lua_source import PARTS, SCRIPTS, source_of
from models.state.progress.script_text import script_text
from models.state.server.rights import ON_A_KEY, STATE_COMMANDS, broker_commands, missing_rights
from tests.support.redis_servers import redis_server

ALL = ("~*", "&*", "+@all")
_CALL = re.compile(r"redis\.p?call\(\s*'([A-Za-z]+)'")


def documented_rules():
    """The rules of docs/how-to/use-your-redis.md, as ACL SETUSER takes them."""
    text = Path("docs/how-to/use-your-redis.md").read_text()
    found = re.search(r"^ACL SETUSER questline on >PASSWORD (.+?)```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1].replace("\\\n", " ").split()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("acl")) as found:
        yield found


@pytest.fixture
def url_of(server):
    """The URL of a user with these rules."""

    def url(*rules):
        server.client().execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
        return f"redis://app:pw@{LOOPBACK}:{server.port}/0"

    return url


def missing(url):
    with connect_state(url) as client:
        return missing_rights(client, (*STATE_COMMANDS, *broker_commands(0)))


def test_the_rules_of_the_docs_are_enough(url_of):
    assert missing(url_of(*documented_rules())) == []


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("~*", "resetchannels", "+@all", "-@admin", "-@dangerous"),
         ["channels &/0.celery.pidbox", "channels &/0.celeryev/*"]),
        (("&*", "~ql:*", "~events.*", "~maintenance*", "~_kombu.*", "~celeryev.*", "~*.celery.pidbox*", "+@all"),
         ["keys ~unacked*"]),
        (("&*", "+@all", "~events.*", "~maintenance*", "~unacked*", "~_kombu.*", "~celeryev.*", "~*.celery.pidbox*"),
         ["keys ~ql:*"]),
        ((*ALL, "-eval"), ["commands +eval"]),
        ((*ALL, "-script|load", "-brpop"), ["commands +script|load", "commands +brpop"]),
        ((*ALL, "-xadd"), ["commands +xadd"]),
        ((*ALL, "-multi"), ["commands +multi"]),
    ],
)  # fmt: skip
def test_a_missing_right_is_named_as_the_rule_that_gives_it(url_of, rules, named):
    url = url_of(*rules)
    assert missing(url) == named
    with pytest.raises(ConfigurationError) as caught:
        require_redis(Settings(broker_url=url), patience=timedelta())
    assert f"BROKER_URL: its user lacks rights: {', '.join(named)}" in str(caught.value)


def test_asking_for_rights_changes_nothing(server, url_of):
    client = server.client()
    client.flushall()
    assert missing(url_of(*ALL)) == []
    assert client.keys("*") == []


def test_every_command_of_the_scripts_is_asked_for():
    sources = [script_text(name) for name in SCRIPTS] + [source_of(name) for name in PARTS]
    called = {name.upper() for source in sources for name in _CALL.findall(source)}
    assert len(called) > 25
    assert called - {"TIME"} - ON_A_KEY == set()  # a new command belongs into models/state/server/rights.py


def test_a_broker_apart_needs_its_own_rights_only(url_of, redis_url):
    rules = [rule for rule in documented_rules() if rule != "~ql:*"]
    url = url_of(*rules, "~ql:poison*", "~ql:probe")
    require_redis(Settings(broker_url=url, state_url=redis_url))
    with pytest.raises(ConfigurationError, match=r"STATE_URL: its user lacks rights: keys ~ql:\*"):
        require_redis(Settings(broker_url=redis_url, state_url=url))

"""The whole product by a user of Redis that has the rights of docs/how-to/use-your-redis.md and no others."""

import re
from pathlib import Path

import pytest

from cli.client.ports import LOOPBACK
from tests.conftest import long_only
from tests.support.environment import database_settings
from tests.support.redis_servers import redis_server

# redis-py asks for it at each connection, and goes on without.
NOT_NEEDED = {"client|setinfo"}


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with redis_server(folder) as found:
        text = Path("docs/how-to/use-your-redis.md").read_text()
        rules = re.search(r"^ACL SETUSER questline on >PASSWORD (.+?)```", text, re.DOTALL | re.MULTILINE)
        assert rules
        words = rules[1].replace("\\\n", " ").split()
        found.client().execute_command("ACL", "SETUSER", "questline", "on", ">pw", *words)
        yield found


@long_only
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("engine")
def test_the_documented_rights_are_enough_for_every_process(up, server, database_url):
    run = up(BROKER_URL=f"redis://questline:pw@{LOOPBACK}:{server.port}/0", **database_settings(database_url))
    run.ready()
    loaded = run.run("load-test", "--events", "300", "--users", "30", seconds=60)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    examined = run.run("doctor")
    assert "rights" not in re.sub(r"\bredis-rights\b", "", examined.stdout), examined.stdout
    run.end()
    refused = {
        (entry["reason"], entry["object"])
        for entry in server.client().acl_log()
        if entry["object"] not in {"info", "config|get", *NOT_NEEDED}
    }
    assert refused == set()

"""A Redis that can never do is refused in one line, by every process, before anything is accepted."""

import os
import subprocess
import sys
from datetime import timedelta
from signal import SIGCONT, SIGSTOP

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cli.client.ports import LOOPBACK, free_port
from config.settings import Settings
from models.database.connection import connect_database
from models.errors import ConfigurationError, NotReadyError, StateUnavailableError
from models.state.checks.answers import write_probe
from models.state.checks.requirements import RequirementsCheck, redis_uses, require_redis, waiting_for
from models.state.connection import connect_state, state_errors
from models.state.server.servers import ClusterError, ReplicaGivenError, SentinelGivenError, refuse_unfit
from tests.support.redis_servers import PASSWORD, SERVICE, redis_server, sentinel_group, start_redis
from tests.support.servers import wait_until
from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS, Installation
from worker.celery_app import make_app

pytestmark = pytest.mark.slow

VERBS = [["receiver"], ["worker", "--shards", "all"], ["worker", "--maintenance"], ["beat"], ["flower"]]


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with sentinel_group(tmp_path_factory.mktemp("group")) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    bus = ("--cluster-port", str(free_port()))  # by default 10,000 above its port, which may be too high
    with redis_server(tmp_path_factory.mktemp("cluster"), "--cluster-enabled", "yes", *bus) as found:
        yield found


def settings_of(url):
    return Settings(broker_url=url, state_url=url)


@pytest.fixture
def wrong(request, group, cluster):
    """The URL of something that is no server for us, what a client finds, and what must be said."""
    sentinel = group.sentinels[0].port
    replica = next(server for server in group.servers if server is not group.master())
    return {
        "cluster": (cluster.url, ClusterError, "Redis Cluster, which is not supported"),
        "sentinel": (f"redis://:{PASSWORD}@{LOOPBACK}:{sentinel}/0", SentinelGivenError, "write sentinel://"),
        "replica": (replica.url, ReplicaGivenError, "name its master"),
    }[request.param]


@pytest.mark.parametrize("wrong", ["cluster", "sentinel", "replica"], indirect=True)
def test_no_connection_is_made_to_what_is_no_server_for_us(wrong):
    url, kind, says = wrong
    with connect_state(url) as client, pytest.raises(kind, match=says):
        client.set("a", "1")
    with connect_state(url) as client, pytest.raises(StateUnavailableError, match=says), state_errors():
        client.get("a")


@pytest.mark.parametrize("wrong", ["cluster", "sentinel", "replica"], indirect=True)
def test_it_is_refused_at_the_start_in_one_line_and_told_by_readiness(wrong):
    url, _, says = wrong
    with pytest.raises(ConfigurationError, match=says) as caught:
        require_redis(settings_of(url), patience=timedelta())
    assert str(caught.value).startswith("BROKER_URL: ")
    assert len(str(caught.value).splitlines()) == 1
    assert PASSWORD not in str(caught.value)
    with pytest.raises(NotReadyError, match=says):
        RequirementsCheck(settings_of(url))()


def test_a_server_in_the_place_of_a_sentinel_is_told(group):
    url = f"sentinel://{LOOPBACK}:{group.master().port}/{SERVICE}?sentinel_password={PASSWORD}"
    with pytest.raises(ConfigurationError, match="this is no Sentinel"):
        require_redis(settings_of(url), patience=timedelta())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("sentinel_password=secret", "sentinel_password=other"), "another password, as sentinel_password"),
        (("?sentinel_password=secret", ""), "password, as sentinel_password"),
        ((f"/{SERVICE}/", "/nobody/"), "no Sentinel names a master that is up$"),
    ],
)
def test_why_the_sentinels_name_no_master_is_told(group, change, says):
    with connect_state(group.url.replace(*change)) as client, pytest.raises(NotReadyError, match=says) as caught:
        write_probe(client)
    assert LOOPBACK not in str(caught.value)


def test_a_sentinel_without_a_password_is_known_although_the_url_has_one(tmp_path, group):
    (tmp_path / "open.conf").write_text(f"sentinel monitor mine {LOOPBACK} {group.servers[0].port} 1\n")
    sentinel = start_redis(tmp_path, str(tmp_path / "open.conf"), "--sentinel")
    try:
        with pytest.raises(ConfigurationError, match="this is a Sentinel"):
            require_redis(settings_of(f"redis://app:other@{LOOPBACK}:{sentinel.port}/0"), patience=timedelta())
    finally:
        sentinel.end()


def test_a_server_that_is_away_is_no_fault_of_the_settings():
    require_redis(settings_of(f"redis://{LOOPBACK}:{free_port()}/0"))


def test_a_replica_that_is_promoted_while_a_process_starts_is_taken(tmp_path):
    with redis_server(tmp_path) as master, redis_server(tmp_path, "--replicaof", f"{LOOPBACK} {master.port}",
                                                        "--masterauth", PASSWORD) as replica:  # fmt: skip
        (use,) = redis_uses(settings_of(replica.url))
        assert "replica" in str(waiting_for(use))
        replica.client().replicaof("NO", "ONE")
        require_redis(settings_of(replica.url))
        assert waiting_for(use) is None


def test_a_server_that_tells_nothing_of_itself_passes():
    refuse_unfit(None)
    refuse_unfit({"proto": 3})


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_process_ends_with_the_line(cluster, database_url, tmp_path, verb):
    environment = {"BROKER_URL": cluster.url, "QUESTLINE_DATA_DIR": str(tmp_path), "FLOWER_PASSWORD": "x"}
    ended = subprocess.run(
        [sys.executable, "-m", "cli", *verb], check=False,
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    said = [line for line in ended.stderr.splitlines() if "Cluster" in line]
    assert len(said) == 1
    assert said[0].startswith("questline: BROKER_URL: this is a node of a Redis Cluster")


def test_the_doctor_has_a_line_for_it(cluster, redis_url):
    settings = Settings(broker_url=cluster.url, state_url=redis_url)
    with connect_state(redis_url) as state, connect_state(cluster.url) as broker, make_app(settings) as app:
        engine = connect_database(settings.database_url)
        installation = Installation(settings, state, broker, engine, app, lambda: 0)
        (finding,) = examine(installation, [CHECKS["redis-rights"]])
    assert finding.level == "error"
    assert finding.says.startswith("BROKER_URL: this is a node of a Redis Cluster")


def test_the_master_is_followed_and_nothing_is_written_to_the_one_that_was(group):
    with connect_state(group.url, socket_timeout=1) as client:
        client.set("before", "1")
        client.wait(1, 2000)
        old = group.fail_over(SIGSTOP)
        wait_until(lambda: written(client), message="the client has not found the new master")
        assert client.get("before") == b"1"
        old.signal(SIGCONT)
        assert client.set("later", "1")
        assert group.master().client().mget("after", "later") == [b"1", b"1"]


def written(client):
    try:
        return client.set("after", "1")
    except (RedisConnectionError, RedisTimeoutError):
        return False

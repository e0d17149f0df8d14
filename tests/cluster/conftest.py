"""One cluster for all tests of this folder: a broker, two shard workers, a maintenance worker and beat.

With a container engine the nodes are containers of the project's own image; without one, processes of this machine.
Tests see pytest-celery's ``celery_setup`` in both cases. Each test has a tenant of its own instead of empty servers.
"""

import gc
import warnings
from contextlib import closing
from dataclasses import dataclass

import docker  # type: ignore[import-untyped]
import pytest
from docker.errors import DockerException  # type: ignore[import-untyped]
from pytest_celery import CeleryBrokerCluster, CeleryTestNode, CeleryWorkerCluster, RedisTestBroker

from migrations.runner import migrate
from models.database.partitions import prepare_database
from tests.cluster.containers import (  # noqa: F401 - pytest finds fixtures by their names here
    beat_container,
    container_database_url,
    high_container,
    inside_environment,
    low_container,
    maintenance_container,
    postgres_container,
    postgres_image,
    postgres_settings,
    questline_image,
    questline_network,
    redis_container,
    redis_image,
    redis_ports,
    twin_container,
)
from tests.cluster.crowd import Crowd
from tests.cluster.installation import Installation, environment_of
from tests.cluster.nodes import LocalRedis, LocalWorker, QuestlineWorker
from tests.conftest import empty_tables

SHARE_OF_LOW, SHARE_OF_HIGH = ("worker", "--shards", "0-1"), ("worker", "--shards", "2-3")


@dataclass
class Nodes:
    """The containers, or what stands for them, and the environment that reaches their servers from here."""

    broker: RedisTestBroker
    workers: list[QuestlineWorker]
    beat: CeleryTestNode
    environment: dict[str, str]

    def all(self) -> list[CeleryTestNode]:
        return [self.broker, *self.workers, self.beat]


@pytest.fixture(scope="package")
def engine_runs() -> bool:
    """Whether a container engine answers."""
    with warnings.catch_warnings():
        # Without an engine docker's client forgets the socket that it could not connect.
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _engine_answers()
        gc.collect()
    return answers


def _engine_answers() -> bool:
    try:
        with closing(docker.from_env(timeout=2)) as client:
            return bool(client.ping())
    except DockerException:
        return False


@pytest.fixture(scope="package")
def nodes(request, engine_runs, tmp_path_factory):
    """Every node of the cluster, ready."""
    kind = "container_nodes" if engine_runs else "process_nodes"
    found: Nodes = request.getfixturevalue(kind)
    for node in found.all():
        node.ready()
    return found


@pytest.fixture(scope="package")
def process_nodes(tmp_path_factory, database_url):
    folder = tmp_path_factory.mktemp("cluster")
    redis = LocalRedis(folder / "redis")
    redis.ready()
    environment = environment_of(redis.url, database_url, folder / "data")
    _migrate(environment)
    roles = {"low": SHARE_OF_LOW, "high": SHARE_OF_HIGH, "maintenance": ("worker", "--maintenance"), "beat": ("beat",)}
    started = [LocalWorker(role, folder / f"{name}.log", environment=environment) for name, role in roles.items()]
    *workers, beat = started
    yield Nodes(
        RedisTestBroker(redis), [QuestlineWorker(one, None) for one in workers], CeleryTestNode(beat), environment
    )
    for one in reversed(started):
        one.teardown()
    redis.teardown()


@pytest.fixture(scope="package")
def container_nodes(request, redis_container, container_database_url):  # noqa: F811 - a fixture, not the import
    environment = environment_of(redis_container.celeryconfig["host_url"], container_database_url)
    _migrate(environment)
    workers = [request.getfixturevalue(f"{name}_container") for name in ("low", "high", "maintenance")]
    beat = CeleryTestNode(request.getfixturevalue("beat_container"))
    return Nodes(RedisTestBroker(redis_container), [QuestlineWorker(one, None) for one in workers], beat, environment)


def _migrate(environment):
    """The tables, without what earlier tests left: their rules and their record of the installation would go on."""
    installation = Installation(environment)
    migrate(installation.engine)
    empty_tables(installation.engine)
    prepare_database(installation.engine, installation.settings)
    installation.close()


@pytest.fixture(scope="package")
def celery_broker_cluster(nodes):
    return CeleryBrokerCluster(nodes.broker)


@pytest.fixture(scope="package")
def celery_backend_cluster():
    """Questline keeps no results."""


@pytest.fixture(scope="package")
def celery_worker_cluster(nodes):
    return CeleryWorkerCluster(*nodes.workers)


@pytest.fixture
def celery_setup_app(installation):
    return installation.app


@pytest.fixture
def installation(nodes):
    """The running installation; what an earlier test killed is started again."""
    for node in nodes.all():
        if node.container.status != "running":
            node.restart()
    opened = Installation(nodes.environment)
    yield opened
    opened.close()


@pytest.fixture
def crowd(installation, celery_setup):
    """Users that only this test knows."""
    return Crowd.of(installation)


@pytest.fixture
def low(celery_setup):
    """The worker on the first half of the shards."""
    return celery_setup.worker_cluster[0]


@pytest.fixture
def high(celery_setup):
    """The worker on the second half of the shards."""
    return celery_setup.worker_cluster[1]


@pytest.fixture
def twin(request, engine_runs, nodes, tmp_path):
    """One more worker, on the shards of both others."""
    if engine_runs:
        yield QuestlineWorker(request.getfixturevalue("twin_container"), None)
        return
    process = LocalWorker(("worker", "--shards", "0-3"), tmp_path / "twin.log", environment=nodes.environment)
    process.ready()
    yield QuestlineWorker(process, None)
    process.teardown()

"""The cluster on a container engine: pytest-celery's and pytest-docker-tools' own fixtures around the project's image.

Nothing here touches an engine before a test asks for ``container_cluster``.
"""

from pathlib import Path

import pytest
from pytest_celery import CeleryWorkerContainer, RedisContainer
from pytest_docker_tools import build, container, fetch, fxtr, network

from cli.client.ports import free_port
from tests.cluster.installation import environment_of
from tests.cluster.nodes import node_name
from tests.support.servers import wait_until
from tools.local.servers.database_roles import postgres_fault

ROOT = Path(__file__).parents[2]
_REDIS_COMMAND = ["redis-server", "--appendonly", "yes", "--save", "", "--protected-mode", "no"]
_POSTGRES = {"POSTGRES_USER": "tester", "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "questline_test"}


class QuestlineContainer(CeleryWorkerContainer):  # type: ignore[misc]  # the plugin ships no types
    """One process of the product in the project's image."""

    @property
    def ready_prompt(self) -> str | None:
        return "ready." if self._arguments[0] == "worker" else None

    @property
    def _arguments(self) -> list[str]:
        return list(self.attrs["Config"]["Cmd"])

    def worker_name(self) -> str:
        return node_name(self._arguments)


@pytest.fixture(scope="session")
def redis_ports():
    """A port of the host that stays the same when the broker is restarted."""
    return {"6379/tcp": free_port()}


@pytest.fixture(scope="session")
def postgres_settings():
    return _POSTGRES


questline_network = network(scope="session")
redis_image = fetch(repository="redis:7-alpine")
postgres_image = fetch(repository="postgres:18-alpine")
questline_image = build(path=str(ROOT), tag="questline:cluster-tests")

redis_container = container(
    image="{redis_image.id}",
    command=_REDIS_COMMAND,
    ports=fxtr("redis_ports"),
    network="{questline_network.name}",
    wrapper_class=RedisContainer,
    scope="session",
)
postgres_container = container(
    image="{postgres_image.id}",
    environment=fxtr("postgres_settings"),
    ports={"5432/tcp": None},
    network="{questline_network.name}",
    scope="session",
)


@pytest.fixture(scope="session")
def container_database_url(postgres_container):
    """The database as this process reaches it; migrating it is the cluster's business."""
    host, port = postgres_container.get_addr("5432/tcp")
    url = f"postgresql://tester:secret@{host}:{port}/questline_test"
    wait_until(lambda: postgres_fault(url) is None, seconds=60, message=lambda: str(postgres_fault(url)))
    return url


@pytest.fixture(scope="session")
def inside_environment(redis_container, postgres_container):
    """The settings as processes inside the network reach the servers."""
    postgres = postgres_container.attrs["Config"]["Hostname"]
    return environment_of(
        redis_container.celeryconfig["url"], f"postgresql://tester:secret@{postgres}:5432/questline_test"
    )


def _process(*arguments, scope="session"):
    return container(
        image="{questline_image.id}",
        command=list(arguments),
        environment=fxtr("inside_environment"),
        network="{questline_network.name}",
        wrapper_class=QuestlineContainer,
        timeout=60,
        scope=scope,
    )


low_container = _process("worker", "--shards", "0-1")
high_container = _process("worker", "--shards", "2-3")
maintenance_container = _process("worker", "--maintenance")
beat_container = _process("beat")
twin_container = _process("worker", "--shards", "0-3", scope="function")

"""Runs of the product for the acceptance tests."""

import signal

import pytest

from cli.client.ports import free_port
from tests.acceptance.product import Up
from tests.cluster.installation import Installation
from tests.cluster.nodes import LocalWorker


@pytest.fixture(scope="module")
def ports():
    """One set of ports for the tests of this file, which run one after the other."""
    taken: list[int] = []
    for _ in range(4):
        taken.append(free_port(taken=taken))
    return dict(zip(["HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "FLOWER_PORT"], taken, strict=True))


@pytest.fixture
def installation(environment):
    """The servers of workers that run as processes; a file says by ``environment`` what their settings are."""
    opened = Installation(environment)
    yield opened
    opened.close()


@pytest.fixture
def start(environment, tmp_path):
    """Starts processes of the product; ends what a test leaves."""
    started: list[LocalWorker] = []

    def _start(*arguments, **settings):
        log = tmp_path / f"{len(started)}.log"
        started.append(LocalWorker(arguments, log, environment={**environment, **settings}))
        return started[-1]

    yield _start
    for one in started:
        one.teardown()


@pytest.fixture
def up(tmp_path, ports):
    """Starts runs in one folder; ends what a failed test leaves."""
    started: list[Up] = []

    def start(**extra: str) -> Up:
        started.append(Up(tmp_path, ports, **extra))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.end(signal.SIGTERM)

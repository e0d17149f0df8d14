"""Runs of the product for the acceptance tests."""

import signal

import pytest

from tests.acceptance.product import Up
from worker.services.ports import free_port


@pytest.fixture(scope="module")
def ports():
    """One set of ports for the tests of this file, which run one after the other."""
    taken: list[int] = []
    for _ in range(4):
        taken.append(free_port(taken=taken))
    return dict(zip(["HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "FLOWER_PORT"], taken, strict=True))


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

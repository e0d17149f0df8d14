"""An event that kills the process that evaluates it, in a real worker: it ends alone, its neighbours count."""

import sys

import pytest

from models.events import pack_batch, unpack_batch
from models.state.queue.batches import Batch
from tests.cluster.crowd import Crowd
from tests.cluster.installation import environment_of
from tests.cluster.nodes import ProcessContainer
from tests.support.servers import wait_until
from worker.wiring import build_runtime, read_challenges


class DeadlyWorker(ProcessContainer):
    """A shard worker that dies of killers."""

    def __init__(self, log, environment):
        command = [sys.executable, "-m", "tests.cluster.deadly", "worker", "--shards", "all"]
        super().__init__("deadly", command, log, environment=environment)

    @property
    def ready_prompt(self):
        return "ready."


@pytest.fixture
def environment(redis, redis_url, engine, database_url, tmp_path):
    allowed = {"JOURNAL_MAX_ATTEMPTS": "1"}
    return environment_of(redis_url, database_url, tmp_path / "data", **allowed)


@pytest.fixture
def maintenance(installation):
    """The sweep and the flush, in this process."""
    runtime = build_runtime(installation.settings, installation.app, read_challenges(installation.settings))
    yield runtime
    runtime.watcher.stop()
    runtime.metrics.stop()


def test_an_event_that_kills_its_worker_ends_alone_and_its_neighbours_count(
    installation, environment, maintenance, tmp_path
):
    crowd = Crowd.of(installation)
    [batch, other] = crowd.batches(12, shards=[0], size=6)[:2]
    killer = unpack_batch(batch.packed)[0]._replace(event_id="killer", event_type="killer")
    deadly = Batch(0, batch.batch_id, pack_batch([*unpack_batch(batch.packed), killer]))
    sent = {event.event_id for one in (batch, other) for event in unpack_batch(one.packed)}
    crowd.events[:] = [event for event in crowd.events if event.event_id in sent]
    installation.accept([deadly, other])
    worker = DeadlyWorker(tmp_path / "worker.log", environment)
    try:
        worker.ready()

        wait_until(lambda: installation.journaled() == 0, seconds=90, message=worker.logs)
        assert worker.status == "running"
    finally:
        worker.stop()
    maintenance.undeliverable.drain()
    maintenance.flusher.flush()
    found = installation.query("SELECT reason, event_ids, exception FROM dead_letters")
    assert found == [("worker_killed", ["killer"], "WorkerLostError")]
    assert crowd.rows() == crowd.expected()
    assert sorted(crowd.logged()) == sorted(sent)

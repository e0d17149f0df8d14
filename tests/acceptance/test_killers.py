"""An event that kills the process that evaluates it, in a real worker: it ends alone, its neighbours count."""

import sys

import pytest

from models.events import pack_batch, unpack_batch
from models.state.keys import shard_keys
from models.state.queue.attempts import Tries
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
    # A batch that a slow machine's worker has taken and not begun must not be due again meanwhile.
    allowed = {"JOURNAL_MAX_ATTEMPTS": "1", "JOURNAL_RETRY_AFTER": "4s"}
    return environment_of(redis_url, database_url, tmp_path / "data", **allowed)


@pytest.fixture
def maintenance(installation):
    """The sweep and the flush, in this process."""
    runtime = build_runtime(installation.settings, installation.app, read_challenges(installation.settings))
    yield runtime
    runtime.watcher.stop()
    runtime.metrics.stop()


def _tries(installation):
    """What is known of the batches that the shard still has."""
    ids = [batch_id.decode() for batch_id in installation.redis.hkeys(shard_keys(0).journal)]
    return Tries(installation.redis).of(0, ids)


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

        def swept():
            # Celery sees seconds later that a process has ended; a real sweep comes later still.
            if all(known.tries <= known.killed for known in _tries(installation)):
                maintenance.sweeper.sweep()
            return installation.journaled() == 0

        wait_until(swept, seconds=60, message=worker.logs)
        assert worker.status == "running"
    finally:
        worker.stop()
    maintenance.poison.drain()
    maintenance.flusher.flush()
    found = installation.query("SELECT reason, event_ids, exception FROM dead_letters")
    assert found == [("worker_killed", ["killer"], "WorkerLostError")]
    assert crowd.rows() == crowd.expected()
    assert sorted(crowd.logged()) == sorted(sent)

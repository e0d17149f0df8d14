"""Workers and the broker die in the middle of the work; nothing is lost and nothing counts twice."""

from contextlib import contextmanager
from threading import Thread

from tests.cluster.crowd import Crowd
from tests.cluster.installation import HIGH, LOW, in_parts
from tests.support.servers import wait_until


@contextmanager
def accepting(installation, batches, *, portion):
    """Accept the batches from a thread, as callers go on sending whatever happens to the workers."""

    def accept():
        for part in in_parts(batches, portion):
            installation.accept(part)

    sender = Thread(target=accept)
    sender.start()
    yield sender
    sender.join(60)
    assert not sender.is_alive()


def test_a_worker_killed_inside_a_batch_loses_nothing(installation, crowd, low):
    with installation.database_held():
        crowd.send(20, shards=[0])
        wait_until(lambda: len(installation.held()) == 1)
        low.kill()
    assert len(installation.held()) >= 1  # nobody gives them back
    low.restart()
    wait_until(lambda: installation.journaled() == 0)
    crowd.assert_exact()


def test_a_worker_killed_in_a_stream_of_batches_loses_nothing(installation, crowd, low):
    batches = crowd.batches(12_000, size=20)
    before = installation.applied(LOW)
    with accepting(installation, batches, portion=10):
        wait_until(lambda: installation.applied(LOW) > before)
        low.kill()
    assert installation.journaled(LOW) > 0
    low.restart()
    wait_until(lambda: installation.journaled() == 0, seconds=30)
    crowd.assert_exact()


def test_a_broker_restarted_in_a_stream_of_batches_loses_nothing(installation, celery_setup, crowd):
    batches = crowd.batches(3000, size=20)
    with accepting(installation, batches, portion=5):
        wait_until(lambda: crowd.logged() != [])
        celery_setup.broker.restart()
    wait_until(lambda: installation.journaled() == 0, seconds=40)
    crowd.assert_exact()


def test_work_that_ends_while_the_broker_is_away_ends_no_worker(installation, celery_setup):
    crowd = Crowd.of(installation, users=20)
    crowd.send(400)
    crowd.assert_exact()
    newcomers = Crowd.of(installation)
    workers = celery_setup.worker_cluster
    with installation.database_held():
        crowd.send(100, shards=HIGH)  # applied without the database: now the flush waits for it
        newcomers.send(10, shards=[0])  # must be loaded: a shard worker waits for it
        wait_until(lambda: _waiting_for_database(installation) == 2)
        tried = [_tries(worker) for worker in workers]
        celery_setup.broker.kill()
        wait_until(
            lambda: all(
                _tries(worker) > before or worker.container.status == "exited"
                for worker, before in zip(workers, tried, strict=True)
            )
        )
    # No supervisor had to help.
    assert [worker.container.status for worker in workers] == ["running"] * 3
    wait_until(lambda: _waiting_for_database(installation) == 0)
    celery_setup.broker.restart()
    crowd.assert_exact()
    newcomers.assert_exact()
    assert [worker.container.status for worker in workers] == ["running"] * 3


def _tries(worker):
    """How often a worker found its broker away."""
    return worker.logs().count("Trying again")


def _waiting_for_database(installation):
    [(waiting,)] = installation.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return waiting


def test_a_broker_killed_between_two_batches_loses_nothing(installation, celery_setup, crowd):
    crowd.send(300)
    crowd.assert_exact()
    celery_setup.broker.kill()
    celery_setup.broker.restart()
    crowd.send(300)
    wait_until(lambda: installation.journaled() == 0, seconds=40)
    crowd.assert_exact()

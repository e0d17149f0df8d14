"""Accepted events reach PostgreSQL exactly, through real workers."""

from tests.cluster.installation import HIGH, LOW
from tests.support.servers import wait_until


def test_accepted_events_reach_postgresql_exactly(crowd):
    crowd.send(600)
    crowd.assert_exact()


def test_a_worker_takes_the_queues_of_its_own_shards_only(installation, crowd, high):
    high.kill()
    crowd.send(100, shards=LOW)
    waiting = crowd.batches(100, shards=HIGH)
    installation.accept(waiting)
    wait_until(lambda: installation.journaled(LOW) == 0)
    assert installation.journaled(HIGH) == len(waiting)
    assert installation.queued(HIGH) == len(waiting)  # no worker was given any
    high.restart()
    crowd.assert_exact()


def test_two_workers_on_the_same_shards_stay_exact(installation, crowd, low, twin):
    # Every user is unknown, so both workers load the same records at the same time.
    batches = crowd.batches(1500, shards=LOW, size=10)
    installation.accept(batches)
    crowd.assert_exact()


def test_a_message_that_comes_twice_counts_once(installation, crowd):
    batches = crowd.batches(200)
    installation.accept(batches)
    crowd.assert_exact()
    installation.accept(batches)
    crowd.assert_exact()

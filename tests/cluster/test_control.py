"""The cluster as operators see it."""

from config.shards import MAINTENANCE_QUEUE, queue_for
from tests.cluster.installation import HIGH, LOW


def test_the_mode_of_this_run_is_told(engine_runs, celery_setup, capsys):
    assert celery_setup.ready(control=True)
    with capsys.disabled():
        print(f"\ncluster tests run on {'containers' if engine_runs else 'processes'}")


def test_every_worker_answers_by_its_name(celery_setup):
    names = [worker.hostname() for worker in celery_setup.worker_cluster]
    assert [name.partition("@")[0] for name in names] == ["shards-0-1", "shards-2-3", "maintenance"]
    answers = celery_setup.app.control.ping(timeout=2, limit=len(names))
    assert sorted(name for answer in answers for name in answer) == sorted(names)


def test_every_queue_has_one_worker(celery_setup):
    names = [worker.hostname() for worker in celery_setup.worker_cluster]
    active = celery_setup.app.control.inspect(timeout=3, limit=len(names)).active_queues()
    taken = {worker: sorted(queue["name"] for queue in queues) for worker, queues in active.items()}
    queues = [[queue_for(shard) for shard in LOW], [queue_for(shard) for shard in HIGH], [MAINTENANCE_QUEUE]]
    assert taken == dict(zip(names, queues, strict=True))

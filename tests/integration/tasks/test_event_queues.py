"""The shards' queues as Celery sees them: streams that only the receiver fills, and that nobody purges."""

import pytest
from celery.app.control import Control

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, queue_for
from models.state.keys import stream_keys
from tasks.broker.transport import OfEventsError
from tasks.definitions import APPLY_EVENTS, FLUSH
from tests.support.stack import SHARDS
from worker.celery_app import make_app


@pytest.fixture
def app(redis_url):
    with make_app(Settings(broker_url=redis_url, state_url=redis_url, shards=SHARDS)) as app:
        yield app


def test_a_purge_of_all_queues_is_refused_and_loses_no_event(stack, app):
    stack.accept(stack.event("login"))
    with pytest.raises(OfEventsError, match="holds accepted events"):
        Control(app).purge()
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (1, False)


def test_other_queues_are_purged(app, redis):
    app.send_task(FLUSH, queue=MAINTENANCE_QUEUE)
    with app.connection_for_write() as connection:
        assert connection.default_channel.queue_purge(MAINTENANCE_QUEUE) == 1
    assert redis.llen(MAINTENANCE_QUEUE) == 0


def test_a_message_for_a_queue_of_events_is_refused(app):
    with pytest.raises(OfEventsError, match="come in by the receiver"):
        app.send_task(APPLY_EVENTS, ([],), queue=queue_for(0))


def test_the_length_of_a_queue_of_events_is_that_of_its_streams(stack, app, redis):
    [batch] = stack.accept(stack.event("login"))
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        assert [channel._size(queue_for(shard)) for shard in range(SHARDS)] == [
            int(shard == batch.shard) for shard in range(SHARDS)
        ]
        redis.set(stream_keys(0)[0], "of another application")
        channel._size(queue_for(0))  # tells nothing, and raises nothing

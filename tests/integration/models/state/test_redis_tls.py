"""Broker and state by TLS, as managed services give it, or by a unix socket: one URL, certificates are checked."""

import pytest

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE
from models.errors import ConfigurationError, NotReadyError, StateUnavailableError
from models.state.checks.answers import write_probe
from models.state.checks.requirements import RequirementsCheck, require_redis
from models.state.connection import connect_state, state_errors
from tasks.definitions import FLUSH
from tests.support.redis_servers import PASSWORD, redis_server, tls_in_front
from worker.celery_app import SERIALIZER, make_app


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("plain")) as found:
        yield found


@pytest.fixture
def tls(server, tmp_path):
    """TLS in front of a server, and the login that it wants."""
    with tls_in_front(tmp_path, server.port) as found:
        yield found, f":{PASSWORD}@"


def assert_works(settings):
    """State, broker and remote control speak with the server."""
    with connect_state(settings.state) as client:
        assert client.set("a", "1")
    with make_app(settings) as app:
        app.send_task(FLUSH, task_id="first", queue=MAINTENANCE_QUEUE)
        with app.connection_for_read() as broker:
            queue = broker.SimpleQueue(MAINTENANCE_QUEUE, accept=[SERIALIZER])
            message = queue.get(timeout=5)
            message.ack()
            queue.close()
        assert message.headers["id"] == "first"
        assert app.control.ping(timeout=0.2) == []


def refusal(url):
    with connect_state(url) as client, pytest.raises(StateUnavailableError) as caught, state_errors():
        client.ping()
    return str(caught.value)


def test_a_system_certificate_is_enough(tls, monkeypatch):
    port, login = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(port.ca_file))
    assert_works(Settings(broker_url=port.url(login)))


def test_a_ca_file_is_taken_from_the_setting(tls):
    port, login = tls
    assert_works(Settings(broker_url=port.url(login), redis_ca_file=port.ca_file))


def test_options_in_the_notation_of_celery_are_understood(tls):
    port, login = tls
    url = f"{port.url(login)}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={port.ca_file}"
    assert_works(Settings(broker_url=url))


def test_a_certificate_of_somebody_else_and_of_another_name_are_refused(tls):
    port, login = tls
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(port.url(login))
    named = f"{port.url(login, host='127.0.0.1')}?ssl_ca_certs={port.ca_file}"
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(named)
    assert refusal(port.url(login).replace("rediss:", "redis:"))


@pytest.mark.parametrize(
    ("scheme", "host", "text"),
    [
        ("rediss", "localhost", "its certificate is not trusted: name the authority's certificate in REDIS_CA_FILE"),
        ("rediss", "127.0.0.1", "its certificate is for another name"),
        ("redis", "localhost", "this port speaks TLS: write rediss://"),
    ],
)
def test_what_is_wrong_with_tls_is_said_at_the_start_and_by_readiness(tls, scheme, host, text):
    port, login = tls
    url = port.url(login, host=host).replace("rediss", scheme)
    settings = Settings(broker_url=url, redis_ca_file=port.ca_file if host == "127.0.0.1" else None)
    with pytest.raises(ConfigurationError, match=f"BROKER_URL: {text}"):
        require_redis(settings)
    with pytest.raises(NotReadyError, match=text):
        RequirementsCheck(settings)()
    if scheme == "rediss":
        with connect_state(settings.state) as client, pytest.raises(NotReadyError, match=text):
            write_probe(client)


def test_a_server_without_tls_is_told(server):
    with pytest.raises(ConfigurationError, match="speaks no TLS: write redis://"):
        require_redis(Settings(broker_url=server.url.replace("redis://", "rediss://")))


def test_celery_shows_no_password(tls):
    port, login = tls
    settings = Settings(broker_url=port.url(login), redis_ca_file=port.ca_file)
    with make_app(settings) as app, app.connection_for_read() as broker:
        assert PASSWORD not in broker.as_uri(include_password=True)
        assert f":{PASSWORD}@" not in str(app.conf.table(with_defaults=True))


def test_a_unix_socket_serves_state_and_broker(tmp_path):
    with redis_server(tmp_path, "--unixsocket", str(tmp_path / "redis.sock")):
        assert_works(Settings(broker_url=f"unix://:{PASSWORD}@{tmp_path / 'redis.sock'}?db=1"))

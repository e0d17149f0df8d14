"""Ports are checked before anything is started."""

import socket

import pytest

from cli.client.ports import check_ports, free_port, is_free
from config.settings import Settings
from models.errors import ConfigurationError, ServiceFailedError


def _settings(**given) -> Settings:
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port", "flower_port")}
    return Settings(**(ports | given))


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_ports_pass():
    check_ports(_settings())


@pytest.mark.parametrize("name", ["http_port", "grpc_port", "metrics_port", "flower_port", "db_port"])
def test_a_taken_port_is_one_line_with_the_port_and_its_setting(taken_port, name):
    with pytest.raises(ServiceFailedError) as caught:
        check_ports(_settings(**{name: taken_port}))
    assert str(caught.value) == f"port {taken_port} is already taken: free it, or set {name.upper()} to another"


def test_the_port_of_a_given_database_is_not_ours_to_check(taken_port):
    check_ports(_settings(db_port=taken_port, db_host="database.example"))


def test_two_settings_with_one_port_are_refused():
    port = free_port()
    with pytest.raises(ConfigurationError, match=f"HTTP_PORT and FLOWER_PORT are both {port}"):
        check_ports(_settings(http_port=port, flower_port=port))


def test_a_listener_makes_a_port_taken(taken_port):
    assert not is_free(taken_port)
    assert is_free(free_port(taken={taken_port}))

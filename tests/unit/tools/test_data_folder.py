"""What the data folder keeps, and for whom."""

import socket
import stat

import pytest

from cli.client.data_folder import DataFolder, read_json, write_private
from models.errors import ServiceFailedError


@pytest.fixture
def data(tmp_path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    return folder


def test_a_password_is_made_once_and_only_its_owner_can_read_it(data):
    first = data.secret("redis_password")
    assert DataFolder(data.path).secret("redis_password") == first
    assert data.secret("flower_password") != first
    assert stat.S_IMODE((data.path / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700


def test_a_port_is_kept_while_it_is_free(data):
    port = data.port("redis", taken=())
    assert data.port("redis", taken=()) == port
    assert data.port("redis", taken={port}) != port


def test_a_port_that_somebody_took_is_replaced(data):
    port = data.port("redis", taken=())
    with socket.create_server(("127.0.0.1", port)):
        assert data.port("redis", taken=()) != port


def test_two_runs_cannot_hold_one_folder(data):
    assert not data.is_running()
    with data.locked():
        assert data.is_running()
        with pytest.raises(ServiceFailedError, match="already running"), DataFolder(data.path).locked():
            pass
    assert not data.is_running()


def test_a_folder_that_was_never_used_is_not_running(tmp_path):
    assert not DataFolder(tmp_path / "nowhere").is_running()


def test_a_damaged_file_is_named(tmp_path):
    damaged = tmp_path / "secrets.json"
    write_private(damaged, "{")
    with pytest.raises(ServiceFailedError, match=r"secrets\.json cannot be read"):
        read_json(damaged)
    write_private(damaged, "[]")
    with pytest.raises(ServiceFailedError, match=r"secrets\.json is damaged"):
        read_json(damaged)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ServiceFailedError, match="QUESTLINE_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data").prepare()

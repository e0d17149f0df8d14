"""Commands in another terminal find the running product; what the environment says wins."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from cli.client.data_folder import DataFolder
from cli.client.running import addresses, require_servers, running_settings, write_run_file
from config.settings import Settings
from models.errors import PermanentError
from tools.local.console import first_event

RUN: dict[str, Any] = {
    "db_host": "127.0.0.1", "db_port": 41000, "db_password": "p@ss/word", "http_port": 8123,
    "broker_url": "redis://:a@127.0.0.1:41001/0", "state_url": "redis://:a@127.0.0.1:41001/0",
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """A folder that a run holds."""
    folder = DataFolder(tmp_path)
    folder.prepare()
    write_run_file(folder, Settings(questline_data_dir=tmp_path, **RUN), tmp_path / "s.sock")
    return folder


def test_an_unset_setting_comes_from_the_run(data):
    with data.locked():
        found = running_settings(Settings(questline_data_dir=data.path))
    assert {name: getattr(found, name) for name in RUN} == RUN


def test_a_given_setting_wins_over_the_run(data):
    with data.locked():
        found = running_settings(Settings(questline_data_dir=data.path, http_port=9, state_url="redis://other/1"))
    assert (found.http_port, found.broker, found.state) == (9, "redis://other/1", "redis://other/1")


def test_a_given_database_is_never_mixed_with_the_runs_password(data):
    with data.locked():
        found = running_settings(Settings(questline_data_dir=data.path, db_host="elsewhere"))
    assert (found.db_host, found.db_port, found.db_password) == ("elsewhere", 5432, "postgres")


def test_a_database_that_a_url_names_is_found_as_it_was_given(tmp_path, monkeypatch):
    url = "postgresql://u:p%40@h1:1,h2:2/n?target_session_attrs=read-write"
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DB_SSLROOTCERT", "authority.pem")
    folder = DataFolder(tmp_path)
    folder.prepare()
    given = Settings(questline_data_dir=tmp_path, state_url="redis://r/0")
    write_run_file(folder, given, tmp_path / "s.sock")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DB_SSLROOTCERT")
    with folder.locked():
        found = running_settings(Settings(questline_data_dir=tmp_path))
    authority = f"sslmode=verify-full&sslrootcert={Path('authority.pem').absolute()}"
    assert addresses(found)["database_url"] == f"{url}&{authority}"


def test_the_file_of_a_run_that_died_counts_for_nothing(data):
    found = running_settings(Settings(questline_data_dir=data.path))
    assert found.broker_url is None
    with pytest.raises(PermanentError, match=r"not running on .*BROKER_URL"):
        require_servers(found)


def test_given_servers_need_no_run(tmp_path):
    settings = Settings(questline_data_dir=tmp_path, db_host="db", state_url="redis://r/0")
    require_servers(running_settings(settings))


def test_the_addresses_have_exactly_these_keys_and_can_be_connected_to():
    found = addresses(Settings(http_host="0.0.0.0", **RUN))
    assert list(found) == ["http", "grpc", "metrics", "flower", "database_url", "broker_url", "state_url"]
    assert found["http"] == "http://127.0.0.1:8123"
    assert found["database_url"] == "postgresql://postgres:p%40ss%2Fword@127.0.0.1:41000/challenge_db"


def test_an_ipv6_address_stands_in_brackets():
    assert addresses(Settings(http_host="::"))["grpc"] == "[::1]:6566"


def test_the_first_event_shows_the_key_of_the_shell_and_not_the_key_itself():
    line = first_event(Settings(api_key="ql_1_secret"))
    assert "Authorization: Bearer $API_KEY" in shlex.split(line)
    assert "secret" not in line
    assert "API_KEY" not in first_event(Settings(api_key=None))


def test_the_first_event_is_one_shell_line_with_an_id_of_its_own():
    settings = Settings(**RUN)
    words = shlex.split(first_event(settings))
    event = json.loads(words[words.index("-d") + 1])
    assert event["event_type"] == "login"
    assert event["event_id"] != json.loads(shlex.split(first_event(settings))[words.index("-d") + 1])["event_id"]

"""Passwords are shown to those who ask for them, and never in logs."""

import json
import logging
from threading import Thread
from traceback import format_exception

import pytest
import structlog
from typer.testing import CliRunner

from cli import app
from models.errors import ConfigurationError
from models.secrets import without_passwords
from models.state.checks.requirements import redis_fault
from worker.logs import configure_logs

PASSWORD = "hunter2"
DATABASE = f"postgresql://questline:{PASSWORD}@db:5432/challenge_db"
BROKER = f"redis://:{PASSWORD}@redis:6379/0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (BROKER, "redis://:****@redis:6379/0"),
        (f"cannot reach {DATABASE}, nor {BROKER}.", "cannot reach postgresql://questline:****@db:5432/challenge_db, nor redis://:****@redis:6379/0."),
        ("rediss://user:p%40ss@h", "rediss://user:****@h"),
        ("redis://:not@quoted/at#all@h:1/0", "redis://:****@h:1/0"),
        ("redis://:it's@h", "redis://:****@h"),
        ("ConnectionError('redis://:it\"s\\'@h:1/0')", "ConnectionError('redis://:****@h:1/0')"),
        ("redis://o'neil:secret@h", "redis://o'neil:****@h"),
        ("redis://:a',b@h", "redis://:****@h"),
        ("sentinel://:s@a:1,b:2/m/0?sentinel_password=x", "sentinel://:****@a:1,b:2/m/0?sentinel_password=****"),
        ("redis://h/0?password=x", "redis://h/0?password=****"),
        ("'redis://h?db=1&password=it's&ssl_password=y', or", "'redis://h?db=1&password=****&ssl_password=****', or"),
        ('{"a":"redis://:s@h","b":"x@y"}', '{"a":"redis://:****@h","b":"x@y"}'),
        ("redis://h:6379/0 and mail to ada@example.com", "redis://h:6379/0 and mail to ada@example.com"),
        ("{'url': 'redis://:secret@h', 'x': '@'}", "{'url': 'redis://:****@h', 'x': '@'}"),
    ],
)  # fmt: skip
def test_the_password_of_a_url_is_masked_wherever_it_stands(text, shown):
    assert without_passwords(text) == shown


@pytest.fixture
def logs():
    """Logs as a process has them, on standard error; put back behind the test."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield lambda: configure_logs("debug", process="test")
    root.handlers[:], level = before[0], before[1]
    root.setLevel(level)


def socket_of(url):
    raise ConnectionError(f"cannot connect to {url}")


def test_no_log_record_holds_a_password_whoever_writes_it(logs, capsys):
    logs()
    try:
        socket_of(BROKER)
    except ConnectionError:
        structlog.get_logger().exception("broke", url=BROKER, nested={"urls": [DATABASE, {BROKER: 1}]})
        logging.getLogger("celery.worker").exception("consumer: Cannot connect to %s", BROKER)
        logging.getLogger("kombu.connection").warning("lost", extra={"connection": ConnectionError(DATABASE)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("****" in line and json.loads(line)["process"] == "test" for line in lines)
    assert PASSWORD not in "\n".join(lines)


def test_every_line_names_its_process_whichever_thread_writes_it(logs, capsys):
    logs()
    thread = Thread(target=lambda: structlog.get_logger().warning("said"))
    thread.start()
    thread.join()
    assert json.loads(capsys.readouterr().err)["process"] == "test"


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """``questline urls``, with servers that the environment names."""
    servers = {"DB_HOST": "db", "DB_PASSWORD": PASSWORD, "BROKER_URL": BROKER, "QUESTLINE_DATA_DIR": str(tmp_path)}
    return lambda *words: CliRunner().invoke(app, ["urls", *words], env=servers).output


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_urls_mask_passwords_unless_asked(ask, words):
    assert PASSWORD not in ask(*words)
    assert "****" in ask(*words)
    assert ask(*words, "--show-passwords").count(PASSWORD) == 3


def test_asking_for_one_address_is_asking_for_its_password(ask):
    assert ask("database_url") == f"postgresql://postgres:{PASSWORD}@db:5432/challenge_db\n"
    assert json.loads(ask("broker_url", "--json")) == {"broker_url": BROKER}


def test_a_url_that_redis_py_refuses_is_told_by_its_setting_only():
    with pytest.raises(ConfigurationError) as caught:
        redis_fault(f"redis://:{PASSWORD}@h:1/0?max_connections={PASSWORD}", setting="BROKER_URL")
    assert str(caught.value) == "BROKER_URL: is no Redis URL"
    assert PASSWORD not in "".join(format_exception(caught.value))

"""How ``questline doctor`` runs its checks, and what it does where servers are away."""

import json
from dataclasses import replace
from threading import Event

import pytest
from redis.exceptions import NoPermissionError

from cli.client.ports import free_port
from config.settings import Settings
from models.database.connection import connect_database
from models.failpoints import now_us
from models.state.connection import connect_state
from tests.support.docs import code, table
from tests.support.stack import SHARDS
from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS, Check, Installation, ok
from worker.celery_app import make_app


@pytest.fixture
def away():
    """An installation whose servers are all away."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    settings = Settings(state_url=url, broker_url=url, db_port=free_port(), shards=SHARDS)
    client, engine = connect_state(url, socket_timeout=1), connect_database(settings.database_url)
    app = make_app(settings)
    app.conf.update(broker_connection_retry=False, broker_connection_timeout=1)
    yield Installation(settings, client, client, engine, app, now_us)
    engine.dispose()


def test_with_all_servers_away_every_check_still_says_something(away):
    findings = examine(away)
    by_name = {finding.check: finding for finding in findings}
    assert set(by_name) == set(CHECKS)
    assert by_name["redis"].level == by_name["postgresql"].level == "error"
    assert all("fault of Questline" not in finding.advice for finding in findings)
    for name in ("redis-version", "postgresql-version", "migrations", "dead-letters", "beat", "journal", "clocks"):
        assert by_name[name].says.startswith("not checked: "), by_name[name]
    assert by_name["journal-settings"].level == "ok"


def test_without_servers_named_only_settings_and_the_machine_are_looked_at(away):
    by_name = {finding.check: finding for finding in examine(replace(away, has_servers=False))}
    assert by_name["servers"].level == "error"
    assert by_name["postgresql"].says == "not checked: no servers are named"
    assert by_name["disk"].level == "ok"


def test_a_check_that_hangs_or_breaks_holds_up_no_other(away):
    released = Event()

    def hang(_installation):
        released.wait(20)
        return []

    def broken(_installation):
        raise ZeroDivisionError

    def denied(_installation):
        raise NoPermissionError("this user has no permissions to run the 'info' command")

    checks = [
        Check("hangs", "", hang, needs_servers=False),
        Check("breaks", "", broken, needs_servers=False),
        Check("denied", "", denied, needs_servers=False),
        Check("well", "", lambda _installation: [ok("fine")], needs_servers=False),
    ]
    found = examine(away, checks, patience_s=0.3)
    released.set()
    assert [finding.level for finding in found] == ["warning", "error", "warning", "ok"]
    assert "no answer in time" in found[0].says
    assert "no permissions" in found[2].says
    assert "+info" in found[2].advice


def test_the_doctor_page_lists_the_checks():
    rows = [(code(name), subject) for name, subject, *_ in table("docs/reference/doctor-checks.md", "Doctor checks")]
    assert rows == [(check.name, check.subject) for check in CHECKS.values()]


@pytest.fixture
def command(quietly):
    """``questline doctor`` on the servers of the test."""
    return quietly("doctor")


def test_the_command_ends_with_1_on_errors_and_with_0_on_warnings_unless_strict(command, monkeypatch):
    bad = command("--json")
    said = json.loads(bad.stdout)
    assert (bad.exit_code, said["ok"]) == (1, False)
    assert {finding["check"] for finding in said["findings"]} == set(CHECKS)
    assert all(finding["advice"] for finding in said["findings"] if finding["level"] != "ok")

    few = {name: CHECKS[name] for name in ("receiver-settings", "disk")}
    monkeypatch.setattr("tools.doctor.examination.CHECKS", few)
    monkeypatch.setenv("LOG_LEVEL", "debug")
    shown = command()
    assert shown.exit_code == 0
    assert "2 checks, 0 errors, 1 warnings" in shown.stdout
    assert "LOG_LEVEL" in shown.stdout
    assert command("--strict").exit_code == 1

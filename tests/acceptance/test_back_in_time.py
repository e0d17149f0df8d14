"""A store of the running product goes back in time: every stored event counts once, and the others when sent again."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from models.database.connection import connect_database
from models.state.connection import connect_state
from tests.support.backups import DatabaseBackup, StateBackup
from tests.support.mixed_rules import document
from tests.support.servers import wait_until


class Pupil:
    """A user of the running product, whose lessons are numbered."""

    def __init__(self, run, name):
        addresses = json.loads(run.run("urls", "--json", "--show-passwords").stdout)
        self.run, self.name, self.url = run, name, addresses["http"]
        self.state, self.engine = connect_state(addresses["state_url"]), connect_database(addresses["database_url"])

    def send(self, *numbers):
        events = [
            {"event_id": f"{self.name}-{number}", "event_type": "lesson", "user_id": self.name, "tenant_id": "t"}
            for number in numbers
        ]
        request = Request(  # noqa: S310 - our own http URL
            f"{self.url}/v1/events", json.dumps(events).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            assert json.load(answer)["accepted"] == len(numbers)

    def is_refused(self, number):
        """Whether an event is answered with 503 now."""
        try:
            self.send(number)
        except HTTPError as error:
            return error.code == 503
        return False

    def readiness(self):
        """The status, and what /readyz says of the stores' history."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=10) as answer:  # noqa: S310 - as above
                return answer.status, json.load(answer)["checks"]["history"]
        except HTTPError as error:
            return error.code, json.load(error)["checks"]["history"]

    def stored(self):
        rows = f"SELECT progress FROM user_goal_progress WHERE user_id = '{self.name}' AND goal_id = 'lessons'"
        events = f"SELECT count(*) FROM events WHERE user_id = '{self.name}'"
        return [int(number) for (number,) in self.run.rows(f"{rows} UNION ALL {events}")]

    def shown(self):
        told = self.run.run("progress", self.name, "--tenant", "t", "--json").stdout
        return {goal["goal_id"]: goal["progress"] for goal in json.loads(told)["goals"]}["lessons"]

    def has(self, number):
        """Waits until it is stored and shown that there were so many lessons."""
        wait_until(lambda: self.stored() == [number, number], seconds=40, message=lambda: str(self.stored()))
        wait_until(lambda: self.shown() == number, seconds=10)


def redis_goes_back(pupil):
    pupil.send(*range(5))
    pupil.has(5)
    older = StateBackup(pupil.state)
    pupil.send(*range(5, 10))
    pupil.has(10)
    older.restore()
    pupil.send(*range(10, 29))
    pupil.has(29)
    pupil.send(7, 29)  # PostgreSQL alone knew 7
    pupil.has(30)


def postgresql_goes_back(pupil):
    pupil.send(0, 1)
    pupil.has(2)
    older = DatabaseBackup(pupil.engine)
    pupil.send(2, 3, 4)
    pupil.has(5)
    older.restore()
    wait_until(lambda: pupil.readiness()[0] == 503, seconds=20)
    assert "questline recover" in pupil.readiness()[1]
    wait_until(lambda: pupil.is_refused(5), seconds=20)  # from the next flush on
    examined = json.loads(pupil.run.run("doctor", "--json", seconds=60).stdout)["findings"]
    assert [found["level"] for found in examined if found["check"] == "history"] == ["error"]
    recovered = pupil.run.run("recover", "--json", seconds=60)
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert [found["events_lost_at_most"] for found in json.loads(recovered.stdout)["found"]] == [3]
    wait_until(lambda: pupil.readiness()[0] == 200, seconds=30)
    pupil.send(*range(6))
    pupil.has(6)
    assert "nothing to recover" in pupil.run.run("recover", seconds=60).stdout


@pytest.mark.timeout(240)
def test_a_store_that_goes_back_in_time_costs_no_stored_event(up, tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_bytes(document())
    run = up(CHALLENGES_FILE=str(rules))
    run.ready()
    redis_goes_back(Pupil(run, "of-redis"))
    postgresql_goes_back(Pupil(run, "of-postgresql"))
    audited = run.run("audit", "--all", "--json", seconds=120)
    assert audited.returncode == 0, audited.stdout

"""The audit's second question: was each event judged by the rules of its time? And the repair where one was not."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from cli import app
from models.database.event_log import Logged, PublicationTime
from models.database.rules.publications import load
from models.database.rules.publisher import PICK_UP_US, Document
from models.events import Event
from models.failpoints import now_us
from models.rules.matcher import DEFAULT_LATENESS_US
from models.state.fleet.fences import Fences
from models.state.keys import shard_keys
from tasks.audit.audit import Auditor, Scope
from tasks.audit.judgement import MARGIN_US, Judgements
from tasks.audit.replay import RecallingMatcher
from tasks.rules.publications import parse_stored
from tests.support.publication import publish
from tests.support.stack import SHARDS


def document_of(**targets):
    """A challenges file whose goals count logins, each to its target."""
    goals = [{"id": name, "name": name, "rule": f"count(login) >= {target}"} for name, target in targets.items()]
    content = json.dumps({"challenges": [{"id": "c", "goals": goals}]}).encode()
    return Document(content, parse_stored(content), "rules.json")


def audit(stack, scope=None):
    rules = load(stack.engine, parse_stored, since_us=0)
    matcher = RecallingMatcher(rules, lateness_us=DEFAULT_LATENESS_US)
    return Auditor(stack.engine, lambda: matcher).run(scope or Scope(), grace=timedelta())


@pytest.fixture
def late(stack):
    """A worker without a fence, which applied two of three events by rules that held no longer."""
    first = publish(stack.engine, document_of(logins=3), now_us=now_us())
    assert first is not None
    old = load(stack.engine, parse_stored, since_us=0)
    publish(stack.engine, document_of(logins=2, late=2), now_us=now_us() - 2 * PICK_UP_US)
    for shard in range(SHARDS):
        stack.redis.set(shard_keys(shard).fence, "0:none")
    stack.clock.now = now_us() + 60_000_000
    stack.rulebook = old
    stack.post(stack.event("login", "ada"), stack.event("login", "ada"), stack.event("other", "eve"))
    stack.rulebook = load(stack.engine, parse_stored, since_us=0)
    stack.post(stack.event("login", "eve"))
    Fences(stack.redis, SHARDS).raise_to(2)  # else the flush would have them judged again
    stack.flusher.flush()
    return stack


def test_what_the_replay_cannot_see_is_told_apart(late):
    report = audit(late)
    assert (report.difference_count, report.judgements.count, report.is_right) == (0, 3, False)
    assert {(one.user_id, one.found, one.expected) for one in report.judgements.found} == {("ada", 1, 2), ("eve", 1, 2)}
    assert audit(late, Scope(user=("t1", "ada"))).judgements.count == 2
    assert late.rows("ada") == {("logins", ""): (2, False)}


@pytest.fixture
def command(late, quietly, monkeypatch):
    """The verbs on the servers of the test."""
    monkeypatch.setenv("SHARDS", str(SHARDS))
    reconcile = quietly("reconcile")
    return lambda verb, *options: (
        reconcile(*options) if verb == "reconcile" else CliRunner().invoke(app, [verb, *options])
    )


def test_the_commands_name_it_and_judge_anew_when_they_are_asked_to(late, command):
    found = command("audit", "--json", "--settle", "0")
    text = command("audit", "--settle", "0")
    plain = command("reconcile", "--json")
    repaired = command("reconcile", "--rejudge", "--json")
    after = command("audit", "--json", "--settle", "0")

    said = json.loads(found.stdout)
    assert (found.exit_code, said["ok"], said["difference_count"], said["judged_late_count"]) == (1, False, 0, 3)
    assert "judged by revision 1 of the rules, and revision 2 held" in text.stdout
    assert "--rejudge" in text.stdout
    assert (plain.exit_code, json.loads(plain.stdout)["users_repaired"]) == (1, 0)
    assert (repaired.exit_code, json.loads(repaired.stdout)["events_rejudged"]) == (0, 3)
    assert (after.exit_code, json.loads(after.stdout)["judged_late_count"]) == (0, 0)
    assert late.rows("ada") == {("logins", ""): (2, True), ("late", ""): (2, True)}
    assert late.count("unlocks") == 2
    late.post(late.event("login", "ada"))  # the record in Redis is right, too
    assert late.progress("ada")[("late", "")] == (3, True)


def logged(revision, occurred_at, applied_at):
    event = Event("e", "login", "t1", "ada", occurred_at, occurred_at, None, None, "test", b"", None, b"")
    return Logged(event, revision, applied_at)


@pytest.mark.parametrize(
    ("revision", "occurred_at", "applied_at", "expected"),
    [
        (1, 50, 10**9, None),  # it happened before
        (1, 100, 10**9, 2),
        (2, 100, 10**9, None),
        (1, 150, 60 + MARGIN_US, None),  # its sender's clock is ahead: nothing was published when it came
        (1, 150, 61 + MARGIN_US, 2),
        (1, 350, 61 + MARGIN_US, 2),  # of two that held by its clock one was not there yet
        (None, 350, 10**9, None),  # nobody noted what was known
    ],
)
def test_only_what_was_published_before_an_event_was_applied_should_have_been_known(
    revision, occurred_at, applied_at, expected
):
    times = [PublicationTime(1, 0, 0), PublicationTime(2, 100, 60), PublicationTime(3, 300, 5_000_000)]
    judgements = Judgements(times)
    assert len(list(judgements.watch([logged(revision, occurred_at, applied_at)]))) == 1
    assert [one.expected for one in judgements.found] == ([] if expected is None else [expected])

"""JOURNAL_REPLICAS: 202 means that so many replicas have the event."""

from signal import SIGCONT, SIGSTOP

import pytest

from cli.client.ports import LOOPBACK
from models.errors import NotReadyError
from models.state.checks.answers import replica_probe
from models.state.connection import connect_state
from tests.support.journal import journaled_batches
from tests.support.redis_servers import PASSWORD, redis_server
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(tmp_path):
    """A master and its replica."""
    with (
        redis_server(tmp_path) as master,
        redis_server(tmp_path, "--masterauth", PASSWORD, "--replicaof", f"{LOOPBACK} {master.port}") as replica,
    ):
        wait_until(lambda: master.replicas() == 1)
        yield master, replica


@pytest.fixture
def client(pair):
    with connect_state(pair[0].url) as found:
        yield found


def test_what_is_accepted_is_on_the_replica(pair, client, engine):
    stack = Stack(client, engine, replicas=1)
    (batch,) = stack.accept(stack.event())
    pair[0].end()
    assert journaled_batches(pair[1].client(), SHARDS) == [batch]


def test_without_its_replica_nothing_counts_as_accepted_and_the_journal_has_it_all_the_same(pair, client, engine):
    stack = Stack(client, engine, replicas=1)
    replica_probe(client, 1)
    pair[1].signal(SIGSTOP)
    batches = stack.batches(stack.event())
    appended = stack.journal.append(batches, stack.clock() // 1000)
    assert appended.unconfirmed == "0 of 1 replicas of the state Redis have the events"
    assert [batch.packed for batch in appended.accepted] == [batch.packed for batch in batches]
    pair[1].signal(SIGCONT)
    wait_until(lambda: not stack.journal.append(stack.batches(stack.event()), stack.clock() // 1000).unconfirmed)


def test_a_replica_that_is_not_there_closes_the_receiver(pair, client):
    replica_probe(client, 1)
    with pytest.raises(NotReadyError, match="1 of the 2 that JOURNAL_REPLICAS asks for"):
        replica_probe(client, 2)
    pair[1].end()
    wait_until(lambda: client.wait(0, 1) == 0)
    with pytest.raises(NotReadyError, match="0 of the 1"):
        replica_probe(client, 1)


def test_a_script_that_the_server_forgot_is_confirmed_as_well(pair, client, engine):
    stack = Stack(client, engine, replicas=1)
    client.script_flush()
    (batch,) = stack.accept(stack.event())
    assert journaled_batches(pair[1].client(), SHARDS) == [batch]

"""The names of kombu and Celery that our transport leans on: a release that changes one is not taken."""

from importlib.metadata import version
from inspect import signature
from typing import Any

import celery.worker.request
import pytest
from kombu.transport import redis, virtual

NAMES: dict[Any, tuple[str, ...]] = {
    redis.MultiChannelPoller: (
        "_client_registered",
        "_register",
        "on_poll_start",
        "on_readable",
        "maybe_restore_messages",
    ),
    redis.Channel: (
        "_connparams",
        "_create_client",
        "_disconnect_pools",
        "_get",
        "_get_pool",
        "_on_connection_disconnect",
        "_poll_error",
        "_purge",
        "_put",
        "_size",
        "_update_queue_cycle",
        "active_queues",
        "close",
    ),
    redis.QoS: ("ack", "append", "reject", "restore_by_tag", "restore_unacked"),
    virtual.QoS: ("ack", "append", "can_consume"),
    redis.Transport: ("_deliver", "register_with_event_loop"),
    celery.worker.request.Request: ("on_failure", "on_timeout"),
}
_POLLER: Any = redis.MultiChannelPoller
_CHANNEL: Any = redis.Channel
PARAMETERS: dict[Any, tuple[str, ...]] = {
    _POLLER._register: ("self", "channel", "client", "type"),
    _POLLER._client_registered: ("self", "channel", "client", "cmd"),
    redis.QoS.restore_by_tag: ("self", "tag", "client", "leftmost"),
    redis.QoS.reject: ("self", "delivery_tag", "requeue"),
    redis.Transport._deliver: ("self", "message", "queue"),
    _CHANNEL._poll_error: ("self", "type", "options"),
}


@pytest.mark.parametrize("owner", NAMES, ids=lambda owner: f"{owner.__module__}.{owner.__name__}")
def test_every_name_is_there(owner):
    assert [name for name in NAMES[owner] if not hasattr(owner, name)] == []


@pytest.mark.parametrize("method", PARAMETERS, ids=lambda method: method.__qualname__)
def test_every_method_takes_what_we_give_it(method):
    assert tuple(signature(method).parameters) == PARAMETERS[method]


def test_a_poller_and_a_channel_keep_what_we_look_at():
    poller: Any = redis.MultiChannelPoller()
    assert (poller._channels, poller._fd_to_chan) == (set(), {})
    assert version("kombu").startswith("5.7."), (
        "pinned in pyproject.toml: look at each name here before another one is taken"
    )

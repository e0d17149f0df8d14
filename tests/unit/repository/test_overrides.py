"""What we override or use of dependencies without its being documented: looked at anew when it changes.

Each method that one of our classes overrides has the fingerprint of its source here. Where a release of the dependency
changes it, read what has changed, put right what stands on it, and write the new fingerprint down.
"""

import inspect
from hashlib import sha256
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import flower.command
import pytest
import uvicorn
from celery.beat import PersistentScheduler
from celery.worker.consumer.consumer import Consumer
from flower.app import Flower
from flower.views import BaseHandler
from kombu.transport import redis
from packaging.requirements import Requirement
from tornado.web import Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tasks.broker import consumer, transport
from web.server.protocol import LimitedProtocol
from web.server.server import HttpServer
from worker.scheduler import BoundedScheduler, leased_scheduler

FINGERPRINTS: dict[type, dict[str, str]] = {
    HttpToolsProtocol: {
        "_start_asgi_task": "9c08c2571ae9",
        "_unsupported_upgrade_warning": "55bbd2762b18",
        "connection_lost": "c91a4c9bf2e2",
        "connection_made": "6efb565ff3d3",
        "data_received": "010a7ae59a5d",
        "on_body": "dba9c32aeba3",
        "on_header": "65d62c044f61",
        "on_headers_complete": "1ea8589acfad",
        "on_message_begin": "96d377fdc7c2",
        "on_message_complete": "1fbad42dc31f",
        "on_response_complete": "64e254f28e38",
        "on_url": "37be44e962b0",
        "pause_writing": "17a8fd215d96",
        "resume_writing": "7844bbaa8cce",
        "send_400_response": "ae5a4a3782b6",
        "shutdown": "d7351fa33f00",
    },
    uvicorn.Server: {
        "capture_signals": "e1bbcd4770d1",
        "shutdown": "9b33c5056299",
        "startup": "2aa1d70a244b",
    },
    PersistentScheduler: {
        "apply_entry": "62b889b51933",
        "close": "d5d707049a0e",
        "sync": "893ec17ffdb4",
        "tick": "cee54aab628f",
    },
    Application: {
        "find_handler": "d93d26c5435e",
        "get_handler_delegate": "7ade687ca1a4",
    },
    BaseHandler: {
        "get_broker": "4c4268188d47",
    },
    redis.QoS: {
        "ack": "1bc15a4ddf54",
        "append": "35c655f6ecc6",
        "reject": "747a02434344",
        "restore_by_tag": "58e161d81b6f",
    },
    redis.Channel: {
        "_connparams": "e9a4295085a8",
        "_create_client": "dae92bc4075d",
        "_disconnect_pools": "db50da048a22",
        "_get": "be26a9f1eb4c",
        "_get_pool": "d6e689f654ff",
        "_poll_error": "2c941c0124b9",
        "_purge": "221e37da7c17",
        "_put": "1c0cf9749576",
        "_size": "7cc839b42fdc",
        "close": "101e9b9cdad4",
    },
    redis.MultiChannelPoller: {
        "on_poll_start": "414f76caaa67",
        "on_readable": "c0d99f241607",
    },
    redis.Transport: {
        "_deliver": "799e242f3ec5",
        "register_with_event_loop": "4b835642e4a9",
    },
    Consumer: {
        "create_task_handler": "292c5a681f10",
        "on_decode_error": "e3538c586a7f",
        "on_invalid_task": "9893e7a4eee3",
        "on_unknown_message": "213bd3ee55cb",
        "on_unknown_task": "35e6cbe56494",
    },
}


def _of_the_broker(base):
    made = [one for module in (transport, consumer) for one in vars(module).values() if inspect.isclass(one)]
    return [one for one in made if one is not base and issubclass(one, base)]


OVERRIDERS: dict[type, list[Any]] = {
    HttpToolsProtocol: [LimitedProtocol],
    uvicorn.Server: [HttpServer],
    PersistentScheduler: [BoundedScheduler, leased_scheduler(None, lambda _stands_by: None)],  # type: ignore[arg-type] # made only
}
BROKER = {
    base: _of_the_broker(base)
    for base in (redis.QoS, redis.Channel, redis.MultiChannelPoller, redis.Transport, Consumer)
}
PINNED = ["celery", "kombu", "uvicorn", "flower"]


def _fingerprint(base, name):
    return sha256(inspect.getsource(getattr(base, name)).encode()).hexdigest()[:12]


def _overridden(base):
    return {
        name
        for ours in (OVERRIDERS | BROKER).get(base, [])
        for name, value in vars(ours).items()
        if inspect.isfunction(value) and name != "__init__" and hasattr(base, name)
    }


@pytest.mark.parametrize("base", FINGERPRINTS, ids=lambda base: base.__name__)
def test_what_we_override_is_what_we_have_read(base):
    known = FINGERPRINTS[base]
    assert _overridden(base) <= known.keys()
    assert {name: _fingerprint(base, name) for name in known | dict.fromkeys(_overridden(base))} == known


@pytest.mark.parametrize("base", OVERRIDERS, ids=lambda base: base.__name__)
def test_an_overriding_method_takes_what_its_base_is_called_with(base):
    for ours in OVERRIDERS[base]:
        for name in _overridden(base) & vars(ours).keys():
            wanted, made = (inspect.signature(getattr(one, name)) for one in (base, ours))
            takes_any = any(one.kind is one.VAR_POSITIONAL for one in made.parameters.values())
            assert takes_any or list(made.parameters) == list(wanted.parameters), name


@pytest.mark.parametrize("name", PINNED)
def test_a_dependency_that_we_override_has_an_upper_bound(name):
    required = next(one for one in map(Requirement, requires("questline") or ()) if one.name == name)
    assert any(bound.operator == "<" for bound in required.specifier)


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (HttpToolsProtocol, "connections cycle flow headers loop pipeline server_state transport url"),
        (RequestResponseCycle, "disconnected keep_alive message_event response_complete response_started"),
        (uvicorn.Server, "config force_exit server_state servers should_exit started"),
        (ServerState, "connections default_headers"),
        (FlowControl, "read_paused resume_reading"),
    ],
)
def test_what_we_use_of_uvicorn_is_there(base, names):
    source = inspect.getsource(base)
    missing = [name for name in names.split() if f"self.{name}" not in source and f"def {name}" not in source]
    assert missing == []
    assert STATUS_LINE[503].startswith(b"HTTP/1.1 503 ")


def test_what_we_put_in_the_place_of_flowers_own_is_there():
    assert flower.command.Flower is Flower
    assert "broker_uri" in Path(inspect.getfile(Flower)).with_name("views").joinpath("broker.py").read_text()

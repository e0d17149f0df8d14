"""AccelByte events, from either wire, as events of ours.

It reads the JSON events of ``POST /v1/ags/{topic}`` and, from ``ingest.grpc.server``, the same facts out of
protobuf. Both become an ``AgsSignal``, which is validated like any other event: a login is of type
``login``, a statistic of type ``statistic:<statCode>``, the namespace is the tenant. Fields we do not use
are tolerated.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from pydantic_core import PydanticCustomError

from ingest.schema import read_number
from ingest.validation import WHOLE_EVENT, Fault, Window, read_event
from models.declarations.error_codes import EventCode
from models.events import Event

LOGIN_TOPIC = "iam.account.v1.userLoggedIn"
STATISTIC_TOPIC = "social.statistic.v1.statItemUpdated"

_JSON_NAMES = {
    "event_id": "id",
    "event_type": "payload.statCode",
    "user_id": "payload.userId",
    "tenant_id": "payload.namespace",
    "occurred_at": "timestamp",
    "value": "payload.value",
}
MESSAGE_NAMES = {**_JSON_NAMES, "user_id": "userId", "tenant_id": "namespace", "value": "payload.latestValue"}
"""What our fields are called in the protobuf messages, whose user and namespace are the outer ones."""


class Topic(NamedTuple):
    """A topic of AccelByte's event bus: whose namespace, and which of the two kinds."""

    namespace: str
    kind: str


class AgsSignal(NamedTuple):
    """What an AccelByte event says. Values are as the sender gave them and may be of any type."""

    kind: str
    event_id: Any
    namespace: Any
    user_id: Any
    timestamp: Any
    content: bytes
    """The whole event as bytes that are equal for equal events; needed where it has no id."""
    stat_code: Any = None
    value: Any = None
    increment: Any = None


def parse_topic(topic: str) -> Topic | None:
    """Read a namespace and one of the two kinds, joined by a dot; None where the topic is neither."""
    for kind in (LOGIN_TOPIC, STATISTIC_TOPIC):
        namespace = topic.removesuffix(f".{kind}")
        if namespace and namespace != topic:
            return Topic(namespace, kind)
    return None


class AgsReader:
    """Reads AccelByte events. Where ``namespace`` is given, events of other namespaces are none of ours."""

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace

    def read_json(self, item: Any, window: Window, topic: Topic) -> Event | list[Fault] | None:
        """Read one JSON event that came by a topic; None where its namespace is ignored."""
        signal = _signal_of(item, topic)
        if isinstance(signal, list):
            return signal
        if signal.namespace != topic.namespace:
            return [Fault(EventCode.NAMESPACE_MISMATCH, "payload.namespace", "must be the namespace of the topic")]
        return self.read_signal(signal, window)

    def read_signal(
        self, signal: AgsSignal, window: Window, names: Mapping[str, str] = _JSON_NAMES
    ) -> Event | list[Fault] | None:
        """Turn a signal into an event; None where its namespace is ignored.

        ``names`` are what the sender calls our fields.
        """
        if self._namespace is not None and signal.namespace != self._namespace:
            return None
        event = read_event(_as_given(signal), window)
        faults = event if isinstance(event, list) else []
        faults = [fault._replace(field=names.get(fault.field, fault.field)) for fault in faults]
        increment = None
        try:
            increment = None if signal.increment is None else read_number(signal.increment)
        except PydanticCustomError as error:
            faults.append(Fault(error.type, "payload.inc", error.message()))
        return faults if faults or isinstance(event, list) else event._replace(increment=increment)


class TopicReader(NamedTuple):
    """Reads the JSON events of one topic."""

    ags: AgsReader
    topic: Topic

    @property
    def id_field(self) -> str:
        """Where an event has its id."""
        return "id"

    def read(self, item: Any, window: Window) -> Event | list[Fault] | None:
        """See ``AgsReader.read_json``."""
        return self.ags.read_json(item, window, self.topic)


def _signal_of(item: Any, topic: Topic) -> AgsSignal | list[Fault]:
    """Find the facts in a JSON event; what ``read_event`` would not miss is asked for here."""
    if type(item) is not dict:
        return [Fault(EventCode.NOT_AN_OBJECT, WHOLE_EVENT, "must be a JSON object")]
    payload = item.get("payload") or {}
    if type(payload) is not dict:
        return [Fault(EventCode.WRONG_TYPE, "payload", "must be an object")]
    event_id = item.get("id")
    content = b"" if event_id else _content(item)
    if content is None:
        return [Fault(EventCode.PAYLOAD_TOO_DEEP, WHOLE_EVENT, "nests too deep to derive an id from it")]
    signal = AgsSignal(
        kind=topic.kind,
        event_id=event_id,
        namespace=_first_given(payload.get("namespace"), item.get("namespace"), topic.namespace),
        user_id=_first_given(payload.get("userId"), item.get("userId")),
        timestamp=item.get("timestamp"),
        content=content,
    )
    faults = [Fault(EventCode.MISSING_FIELD, "payload.userId", "is required")] if signal.user_id is None else []
    if topic.kind == LOGIN_TOPIC:
        return faults or signal
    value = _first_given(payload.get("value"), payload.get("latestValue"))
    faults += _faults_of_statistic(payload.get("statCode"), value)
    return faults or signal._replace(stat_code=payload["statCode"], value=value, increment=payload.get("inc"))


def _content(item: dict[str, Any]) -> bytes | None:
    """An event as bytes; None where it nests deeper than can be written."""
    try:
        return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        if "ecursion" in str(error):  # it writes fewer levels than it reads
            return None
    return json.dumps(item, sort_keys=True).encode()  # a number or a text that is no strict JSON, in a field of theirs


def _faults_of_statistic(stat_code: Any, value: Any) -> list[Fault]:
    faults = []
    if stat_code is None:
        faults.append(Fault(EventCode.MISSING_FIELD, "payload.statCode", "is required"))
    elif type(stat_code) is not str:
        faults.append(Fault(EventCode.WRONG_TYPE, "payload.statCode", "must be a string"))
    elif not stat_code:
        faults.append(Fault(EventCode.EMPTY, "payload.statCode", "must not be empty"))
    if value is None:
        faults.append(Fault(EventCode.MISSING_FIELD, "payload.value", "is required"))
    return faults


def _as_given(signal: AgsSignal) -> dict[str, Any]:
    return {
        "event_id": signal.event_id if signal.event_id not in (None, "") else _derived_id(signal),
        "event_type": "login" if signal.kind == LOGIN_TOPIC else f"statistic:{signal.stat_code}",
        "user_id": signal.user_id,
        "tenant_id": signal.namespace,
        "occurred_at": signal.timestamp or None,
        "source": "ags",
        "value": signal.value,
    }


def _derived_id(signal: AgsSignal) -> str:
    """An id for an event without one: by its content, so that a redelivery has the same.

    Without a timestamp two events of equal content may be two real ones, so each is taken for new.
    """
    return f"ags-{sha256(signal.content).hexdigest()}" if signal.timestamp else f"ags-{uuid4().hex}"


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

"""Bad inputs as strategies: bodies, heads and messages that no well-meaning client would send."""

import json
from typing import Any

from hypothesis import strategies as st

GOOD: dict[str, Any] = {"event_id": "e", "event_type": "login", "user_id": "ada"}
GOOD_AGS: dict[str, Any] = {
    "id": "e",
    "payload": {"userId": "ada", "namespace": "default", "statCode": "s", "value": 1},
}

_SURROGATES = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1, max_size=3)
STRINGS = st.one_of(
    st.text(max_size=20),
    _SURROGATES,
    st.sampled_from(
        [
            "",
            "\0",
            "x" * 300,
            "\u2028",
            "\ufeff",
            "../../etc/passwd",
            "'; DROP TABLE events; --",
            "%s%n",
            "{0.__class__}",
            "ql:{s01}:u:a:b",
            "NaN",
            "2026-11-21T10:00:00",
            "9999-12-31T23:59:60Z",
            "-0001-01-01",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=2**53, max_value=2**2000),
    st.floats(),
    st.sampled_from([-0.0, 1e308, -1e308, 5e-324, 2**63, 2**64, -(2**63) - 1]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def _mutated(good: dict[str, Any], more: list[str]) -> st.SearchStrategy[Any]:
    """An object of which some fields are wrong, missing, or not known."""
    names = st.sampled_from([*good, *more]) | STRINGS
    return st.builds(
        lambda without, changed: {name: value for name, value in good.items() if name not in without} | changed,
        st.sets(st.sampled_from(list(good)), max_size=1),
        st.dictionaries(names, VALUES, min_size=1, max_size=3),
    )


EVENTS = _mutated(GOOD, ["tenant_id", "occurred_at", "timezone", "source", "value", "payload"])
AGS_EVENTS = st.one_of(
    _mutated(GOOD_AGS, ["timestamp", "userId", "namespace"]),
    _mutated(GOOD_AGS["payload"], ["latestValue", "inc"]).map(lambda payload: {"id": "e", "payload": payload}),
)


def _as_json(value: Any) -> bytes:
    """JSON as lax writers make it: NaN and Infinity bare, lone surrogates escaped."""
    return json.dumps(value).encode()


def _broken(good: bytes) -> st.SearchStrategy[bytes]:
    """JSON that ends too early, or has a byte too many or a wrong one."""
    return st.builds(
        lambda at, byte, cut: good[:at] + byte + good[at + cut :],
        st.integers(0, len(good)),
        st.binary(max_size=2),
        st.integers(0, len(good)),
    )


_DEPTHS = st.sampled_from([33, 100, 1024, 1025, 5_000, 100_000])
_NESTED = st.one_of(
    _DEPTHS.map(lambda depth: b"[" * depth),
    _DEPTHS.map(lambda depth: b"[" * depth + b"]" * depth),
    _DEPTHS.map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    _DEPTHS.map(
        lambda depth: json.dumps(GOOD)[:-1].encode() + b',"payload":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    ),
)
_RAW_NUMBERS = st.sampled_from(
    ["1e999", "-1e999", "1" * 5000, "0." + "1" * 5000, "1E400", "0x10", "01", "+1", "1_000", "NaN"]
)
_NUMBERED = _RAW_NUMBERS.map(lambda number: json.dumps(GOOD)[:-1].encode() + b',"value":' + number.encode() + b"}")
_DUPLICATED = st.just(b'{"event_id":"a","event_id":5,"event_type":"login","user_id":"u","user_id":null}')


def bodies(events: st.SearchStrategy[Any], good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The bodies of bad requests."""
    return st.one_of(
        st.binary(max_size=200),
        VALUES.map(_as_json),
        events.map(_as_json),
        st.lists(events | VALUES, max_size=5).map(_as_json),
        _broken(json.dumps([good]).encode()),
        _NESTED,
        _NUMBERED,
        _DUPLICATED,
        st.sampled_from(
            [b"", b" ", b"\xef\xbb\xbf{}", b"null", b'"\\ud800"', b"[" + b"1," * 1001 + b"1]", b" " * (1 << 20) + b"1"]
        ),
    )


HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "Content-Encoding", "Accept", "Authorization", "X-API-Key", "Expect", "Cookie", "Range"]
    ),
    st.sampled_from(
        [
            "",
            "application/xml",
            "text/plain; charset=utf-16",
            "application/json; charset=nonsense",
            "gzip",
            "br, gzip",
            "Bearer",
            "Bearer x y",
            "Basic Zm9v",
            "ql_a_b",
            "100-continue",
            "multipart/form-data",
            "bytes=0-",
            "a=b; c",
            "x" * 500,
        ]
    ),
    max_size=3,
)

_TOKENS = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"PRI",
        b"get",
        b" ",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\t",
        b"/v1/events",
        b"/v1/users/%00/progress",
        b"/v1/users/%ff/attributes?tenant_id=%zz",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"*",
        b"//",
        b"http://other/v1/events",
        b"/v1/ags/x.iam.account.v1.userLoggedIn",
        b"?" + b"a=b&" * 50,
        b"#",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/9",
        b"Host: x",
        b"Host:",
        b":",
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: upgrade",
        b"Upgrade: h2c",
        b"X: " + b"y" * 2000,
        b"5\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"\r\n\r\n",
        b"\xff\xfe",
        b"\x16\x03\x01",
    ]
)
_LINES = st.sampled_from(
    [b"POST /v1/events HTTP/1.1\r\nHost: x\r\n", b"GET /v1/users/a/progress HTTP/1.1\r\n", b"GET /", b""]
)
RAW_REQUESTS = st.builds(
    lambda begin, tokens, end: begin + b"".join(tokens) + end,
    _LINES,
    st.lists(_TOKENS | st.binary(max_size=8), max_size=12),
    st.sampled_from([b"\r\n\r\n", b""]),
)

METADATA_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
METADATA = st.lists(
    st.tuples(st.sampled_from(["authorization", "x-api-key", "x-anything", "user-agent"]), METADATA_VALUES)
    | st.tuples(st.just("x-bytes-bin"), st.binary(max_size=300)),
    max_size=4,
)

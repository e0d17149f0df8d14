"""Bad inputs over gRPC: random bytes as messages, hostile fields, strange metadata."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.client.messages import LOGIN_METHOD, STATISTIC_METHOD
from ingest.protos.account_pb2 import UserLoggedIn
from ingest.protos.statistic_pb2 import StatItem, StatItemUpdated
from tests.fuzz.bad_inputs import METADATA
from tests.fuzz.test_fuzz_http import fuzz

GRPC_INPUTS = 3_000
"""At least so many in a long run."""
ANSWERS = {"OK", "INVALID_ARGUMENT"}
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
"""protobuf's strings hold no surrogates; the random bytes do what it would not."""
OUTER = {
    "id": STRINGS,
    "namespace": st.just("default") | STRINGS,
    "user_id": st.just("ada") | STRINGS,
    "timestamp": st.just("") | STRINGS,
}
LOGINS = st.builds(UserLoggedIn, **OUTER)
STATISTICS = st.builds(
    StatItemUpdated,
    payload=st.builds(
        StatItem, stat_code=st.just("kills") | STRINGS, latest_value=st.floats(), inc=st.floats(), user_id=STRINGS
    ),
    **OUTER,
)
METHODS = st.sampled_from([LOGIN_METHOD, STATISTIC_METHOD])


@pytest.fixture(scope="module")
def call(receiver):
    """Calls a method with bytes; answers with the name of the status and what it says."""
    channel: Any = grpc.insecure_channel(f"127.0.0.1:{receiver.ports['GRPC_PORT']}")

    def ask(method: str, message: bytes, metadata: Any = ()) -> tuple[str, str]:
        code, said = "OK", ""
        try:
            channel.unary_unary(method)(message, timeout=30, metadata=metadata)
        except grpc.RpcError as error:
            code, said = error.code().name, error.details() or ""
        receiver.sent[f"grpc {code}"] += 1
        assert not any(leak in said for leak in ("Traceback", ".py", 'File "', "Error(")), said
        return code, said

    yield ask
    channel.close()


@fuzz(200)
@given(method=METHODS, message=st.binary(max_size=300))
def test_no_bytes_in_the_place_of_a_message_break_the_receiver(call, method, message):
    code, said = call(method, message)
    assert code in ANSWERS
    assert said or code == "OK"


@fuzz(100)
@given(message=LOGINS | STATISTICS, metadata=METADATA)
def test_no_fields_and_no_metadata_break_the_receiver(call, message, metadata):
    method = LOGIN_METHOD if isinstance(message, UserLoggedIn) else STATISTIC_METHOD
    code, said = call(method, message.SerializeToString(), metadata)
    assert code in ANSWERS
    assert said or code == "OK"


def test_a_message_that_unpacks_to_much_is_refused_in_little_memory(receiver, call):
    """50 MB of zeros, 50 KB on the wire: inside the bound of a message, until somebody unpacks it."""
    call(LOGIN_METHOD, b"")
    before = peak_mib(receiver.process.pid)
    channel: Any = grpc.insecure_channel(f"127.0.0.1:{receiver.ports['GRPC_PORT']}")
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(LOGIN_METHOD)(bytes(50_000_000), compression=grpc.Compression.Gzip, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert peak_mib(receiver.process.pid) - before < 10


def peak_mib(pid: int) -> int:
    """The most memory that a process has ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def test_after_all_of_them_a_good_message_is_taken(receiver, call):
    """The last of the file: it looks back on the others, which a receiver that refuses everything would pass."""
    receiver.was_sent(at_least=GRPC_INPUTS)
    assert call(LOGIN_METHOD, UserLoggedIn(id="good", user_id="ada").SerializeToString()) == ("OK", "")

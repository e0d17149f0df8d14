"""What a client may do to a connection: raw sockets against a running server."""

from contextlib import ExitStack, suppress

import pytest

from tests.support.http_server import MUCH, SHORT, everything, one_answer, refused, serving, size_app
from tests.support.servers import wait_until
from web.requests import MAX_BODY_BYTES
from web.server.limits import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES

GET = b"GET /size HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def app():
    return size_app()


def head_of(*headers: str, url: str = "/size", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {url} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


TOO_LARGE = {
    "one header": (head_of("X: " + "x" * MAX_HEAD_BYTES), 431),
    "many small headers": (head_of(*(f"X{n}: y" for n in range(MAX_HEADERS + 1))), 431),
    "headers that never end": (b"GET /size HTTP/1.1\r\nX: " + b"x" * (8 * MAX_HEAD_BYTES), 431),
    "a URL": (head_of(url="/size?" + "x" * MAX_URL_BYTES), 414),
    "a URL that never ends": (b"GET /" + b"x" * (8 * MAX_HEAD_BYTES), 414),
}


@pytest.mark.parametrize(("request_bytes", "status"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_that_is_too_large_is_answered_and_read_by_no_handler(app, request_bytes, status):
    with serving(app) as server, server.connect() as connection:
        for start in range(0, len(request_bytes), 4096):
            connection.sendall(request_bytes[start : start + 4096])
        refused(everything(connection), status)
    assert app.state.sizes == []


def test_a_head_within_the_limits_is_taken(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(head_of("X: " + "x" * (MAX_HEAD_BYTES - 1000), "Connection: close"))
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET /size HTTP/9.9\r\n\r\n",
    b"GET /size HTTP/1.1\r\nNo colon\r\n\r\n",
    b"GET /size HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET /size HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n",
    b"CONNECT example.org:80 HTTP/1.1\r\n\r\n",
    b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED)
def test_what_is_no_http_is_refused_as_a_problem(app, request_bytes):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(request_bytes)
        assert refused(everything(connection), 400)["type"] == "urn:questline:problem:malformed-request"


def test_a_request_keeps_its_answer_when_the_next_one_has_no_url(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(GET + b"CONNECT example.org:80 HTTP/1.1\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


SLOW = {
    "a request line": b"GET /si",
    "headers": b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Le",
    "a body": b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
    "a chunked body": b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
}


@pytest.mark.parametrize("before", [b"", GET], ids=["at once", "on a used connection"])
def test_a_client_that_sends_too_slowly_is_answered_408(app, before):
    with serving(app, timeout=SHORT) as server, ExitStack() as held:
        connections = [held.enter_context(server.connect()) for _ in SLOW]
        for connection, begun in zip(connections, SLOW.values(), strict=True):
            if before:
                connection.sendall(before)
                one_answer(connection)
            connection.sendall(begun)
        for connection in connections:
            refused(everything(connection), 408)


def test_bytes_that_trickle_in_do_not_prolong_the_time(app):
    with serving(app, timeout=SHORT) as server, server.connect(seconds=SHORT / 20) as connection:
        connection.sendall(b"GET /size HTTP/1.1\r\n")
        answer = b""
        for number in range(100):
            try:
                answer += connection.recv(65536)
            except TimeoutError:
                connection.sendall(b"X%d: y\r\n" % number)
            else:
                break
        refused(answer, 408)


def test_a_connection_on_which_no_request_begins_is_closed_without_a_word(app):
    with serving(app, timeout=SHORT) as server, server.connect() as silent, server.connect() as blank:
        blank.sendall(b"\r\n\r\n")
        assert everything(silent) == everything(blank) == b""


def test_no_handler_waits_for_a_body_that_does_not_come(app):
    with serving(app, timeout=SHORT) as server, server.connect() as connection:
        connection.sendall(SLOW["a body"])
        everything(connection)
    assert app.state.sizes == [-1]


def test_a_body_of_any_route_is_bounded_whether_its_length_was_told_or_not(app):
    """Routes that leave reading to the framework would take any."""
    told = head_of(f"Content-Length: {2 * MAX_BODY_BYTES}", method="POST")
    chunk = b"%x\r\n%b\r\n" % (MAX_BODY_BYTES, b"x" * MAX_BODY_BYTES)
    for request in (
        told + b"x" * (MAX_BODY_BYTES + 1),
        head_of("Transfer-Encoding: chunked", method="POST") + chunk + b"1\r\nx\r\n",
    ):
        with serving(app) as server, server.connect() as connection:
            connection.sendall(request)
            refused(everything(connection), 413)
    assert app.state.sizes == [-1, -1]


def test_a_body_of_just_the_bound_is_taken(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(head_of(f"Content-Length: {MAX_BODY_BYTES}", method="POST") + b"x" * MAX_BODY_BYTES)
        assert one_answer(connection).startswith(b"HTTP/1.1 200")
    assert app.state.sizes == [MAX_BODY_BYTES]


ENDLESS_TRAILER = head_of("Transfer-Encoding: chunked", method="POST") + b"5\r\n12345\r\n0\r\nX: "


def test_a_trailer_that_never_ends_is_not_gathered(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(ENDLESS_TRAILER)
        for _ in range(4):
            server.wait_until_idle()  # so that it comes in pieces, as it would over a network
            connection.sendall(b"x" * (MAX_HEAD_BYTES // 3))
        refused(everything(connection), 431)
    assert app.state.sizes == [-1]


def test_a_trailer_behind_an_answered_body_ends_the_connection(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(ENDLESS_TRAILER.replace(b"/size", b"/nowhere"))
        server.wait_until_idle()
        for _ in range(4):
            with suppress(OSError):  # it is closed at once, with what was not read
                connection.sendall(b"x" * (MAX_HEAD_BYTES // 3))
            server.wait_until_idle()
        wait_until(lambda: not server.server.server_state.connections)


def test_a_body_in_small_pieces_is_no_trailer(app):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(head_of("Transfer-Encoding: chunked", "Connection: close", method="POST"))
        for piece in (b"1;" + b"e" * 20_000 + b"\r\n", b"x\r\n") * 3:
            connection.sendall(piece)
            server.wait_until_idle()
        connection.sendall(b"0\r\nLast: one\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
    assert app.state.sizes == [3]


def test_bodies_of_all_connections_together_are_bounded_and_given_back(app):
    half = b"x" * 600
    begun = head_of("Content-Length: 1000", method="POST") + half
    with serving(app, held_bytes=1000) as server:
        held = server.connect()
        held.sendall(begun)
        wait_until(lambda: server.limits.held_bytes == len(half))
        with server.connect() as connection:
            connection.sendall(begun)
            assert refused(everything(connection), 503)["type"] == "urn:questline:problem:too-many-bodies"
        wait_until(lambda: server.limits.held_bytes == len(half))
        held.sendall(b"x" * 400)
        assert one_answer(held).startswith(b"HTTP/1.1 200 ")
        assert server.limits.held_bytes == 0
        held.sendall(begun)
        wait_until(lambda: server.limits.held_bytes == len(half))
        held.close()
        wait_until(lambda: server.limits.held_bytes == 0)
    assert app.state.sizes == [-1, 1000, -1]


def test_what_is_sent_behind_an_answer_is_not_counted_as_held(app):
    with serving(app, held_bytes=1000) as server, server.connect() as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert one_answer(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"x" * 50_000)
        server.wait_until_idle()
        assert server.limits.held_bytes == 0


def test_a_client_that_does_not_read_its_answers_is_left_without_an_error(app, caplog):
    with serving(app, timeout=SHORT) as server, server.connect() as connection:
        connection.setblocking(False)
        with suppress(OSError):  # its buffers are full, or it was left already
            while connection.send(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n"):
                continue
        wait_until(lambda: not server.server.server_state.connections)
        server.wait_until_idle()
    assert not caplog.records


def test_a_client_that_reads_slowly_gets_all_of_its_answer(app):
    with serving(app, timeout=SHORT / 4) as server, server.connect() as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        read = 0
        while piece := connection.recv(MUCH // 8):
            read += len(piece)
            server.wait_until_idle()
        assert read > MUCH


def test_a_slow_body_behind_its_answer_ends_the_connection_without_a_second_answer(app):
    begun = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
    with serving(app, timeout=SHORT) as server, server.connect() as connection:
        connection.sendall(begun)
        assert everything(connection).count(b"HTTP/1.1") == 1


def test_more_connections_than_allowed_get_503_with_the_time_to_try_again(app):
    with serving(app, connections=2) as server:
        held = [server.connect() for _ in range(2)]
        for connection in held:
            connection.sendall(GET)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        with server.connect() as connection:
            connection.sendall(GET)
            answer = everything(connection)
        refused(answer, 503)
        assert b"retry-after: " in answer
        for connection in held:
            connection.sendall(GET)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        held.pop().close()
        wait_until(lambda: len(server.server.server_state.connections) < 2)
        with server.connect() as connection:
            connection.sendall(GET)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        held.pop().close()


def test_requests_sent_ahead_are_answered_in_their_order(app):
    posts = [b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (n, b"x" * n) for n in range(10)]
    with serving(app) as server, server.connect() as connection:
        connection.sendall(b"".join(posts) + head_of("Connection: close"))
        answers = everything(connection).split(b"HTTP/1.1 200 OK")[1:]
    assert [answer.rpartition(b"\r\n")[2] for answer in answers] == [b"%d" % n for n in [*range(10), 0]]


def test_many_small_requests_sent_ahead_are_no_large_head(app):
    many = 3 * MAX_HEAD_BYTES // len(GET)
    with serving(app) as server, server.connect() as connection:
        for cut in range(0, len(GET) * many, len(GET) * many // 4):  # pieces that begin and end within heads
            connection.sendall((GET * many)[cut : cut + len(GET) * many // 4])
        connection.sendall(head_of("Connection: close"))
        assert everything(connection).count(b"HTTP/1.1 200 ") == many + 1


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_wish_for_another_protocol_is_answered_in_this_one_for_the_last_time(app, protocol):
    with serving(app) as server, server.connect() as connection:
        connection.sendall(
            b"GET /size HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        )
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer

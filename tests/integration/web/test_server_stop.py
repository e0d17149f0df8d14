"""How the HTTP side stops: nobody who sends is cut off."""

import re
import socket
import time

import pytest
from fastapi import FastAPI, Request

from tests.support.http_server import serving
from web.server.server import listen

GET = b"GET /size HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.3


@pytest.fixture
def app():
    made = FastAPI()

    @made.api_route("/size", methods=["GET", "POST"])
    async def size(request: Request) -> int:
        return len(await request.body())

    return made


def is_whole(answer: bytes) -> bool:
    """Whether the body is there as well: it may arrive after the head."""
    parts = re.fullmatch(rb"(?s).*?content-length: (\d+)\r\n.*?\r\n\r\n(.*)", answer)
    return parts is not None and len(parts[2]) == int(parts[1])


def answer_on(connection: socket.socket, request: bytes = GET) -> bytes:
    connection.sendall(request)
    read = connection.recv(65536)
    while not is_whole(read):
        more = connection.recv(65536)
        assert more, read
        read += more
    return read


def closed(connection: socket.socket) -> bool:
    """The server has ended the connection in order; a reset raises."""
    return connection.recv(1) == b""


def test_every_answer_of_a_server_that_finishes_is_the_last_of_its_connection(app):
    with serving(app) as server, server.connect() as used, server.connect() as fresh:
        assert b"connection: close" not in answer_on(used)
        server.finish()
        server.wait_until_idle()
        for connection in (used, fresh, server.connect()):
            with connection:
                answer = answer_on(connection)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" in answer
                assert closed(connection)


def test_a_request_under_way_is_answered_after_the_listener_closed(app):
    with serving(app) as server:
        with server.connect() as connection, server.connect() as idle:
            answer_on(idle)
            connection.sendall(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
            server.wait_until_idle()
            server.server.should_exit = True
            assert closed(idle)
            answer = answer_on(connection, b"67890")
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_connections_that_were_made_but_not_taken_are_answered(app):
    with serving(app) as server:
        server.loop.call_soon_threadsafe(time.sleep, SHORT)
        server.server.should_exit = True
        waiting = [server.connect() for _ in range(50)]
        for connection in waiting:
            connection.sendall(GET)
        for connection in waiting:
            with connection:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_says_nothing_does_not_hold_up_the_end(app):
    with serving(app) as server, server.connect() as silent:
        server.wait_until_idle()
        start = time.monotonic()
        server.stop()
        assert closed(silent)
    assert time.monotonic() - start < 4


def test_two_servers_share_a_port_where_both_want_to():
    with listen("127.0.0.1", 0, "HTTP_PORT", reuse=True) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port, "HTTP_PORT", reuse=True) as second:
            assert second.getsockname() == first.getsockname()

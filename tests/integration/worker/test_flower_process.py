"""Flower as the product starts it: behind its password, showing and not changing, the password on no command line."""

import os
import ssl
import sys
from contextlib import contextmanager
from subprocess import Popen

import httpx
import psutil
import pytest
import trustme
from flower.urls import handlers

from cli.client.ports import free_port
from tests.support.servers import wait_until

pytestmark = pytest.mark.slow

PASSWORD = "a password, with a comma"
VIEWS = ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length", "/metrics"]
CONTROL = sorted(
    str(handler[0]).replace("(.+)", "some-name")
    for handler in handlers
    if isinstance(handler, tuple) and handler[0].startswith("/api/") and hasattr(handler[1], "post")
    and "post" in vars(handler[1])
)  # fmt: skip


@contextmanager
def flower(redis_url, tmp_path, **settings):
    """Flower as a process; yields it and a client that knows the password."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    environment = {
        "BROKER_URL": redis_url,
        "FLOWER_PORT": str(port),
        "FLOWER_PASSWORD": PASSWORD,
        "QUESTLINE_DATA_DIR": str(tmp_path),
        "TLS_CERT": str(tmp_path / "cert.pem"),
        "TLS_KEY": str(tmp_path / "key.pem"),
    }
    process = Popen([sys.executable, "-m", "cli", "flower"], env={**os.environ, **environment, **settings})
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}", auth=("questline", PASSWORD), verify=trust, timeout=20
        ) as client:
            wait_until(lambda: answers(client), message="Flower does not answer")
            yield process, client
    finally:
        process.kill()
        process.wait()


def answers(client):
    try:
        return client.get("/healthcheck").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.usefixtures("redis")
def test_flower_shows_everything_and_changes_nothing(redis_url, tmp_path):
    assert len(CONTROL) >= 14
    with flower(redis_url, tmp_path) as (process, client):
        assert {path: client.get(path).status_code for path in VIEWS} == dict.fromkeys(VIEWS, 200)
        assert client.post("/tasks/datatable", data={"draw": "1"}).status_code != 403
        assert {path: client.post(path).status_code for path in CONTROL} == dict.fromkeys(CONTROL, 403)
        for path in [*VIEWS[:-1], *CONTROL]:
            method = "POST" if path in CONTROL else "GET"
            assert client.request(method, path, auth=("questline", "wrong")).status_code == 401, path
        assert PASSWORD not in " ".join(psutil.Process(process.pid).cmdline())


@pytest.mark.usefixtures("redis")
def test_flower_is_asked_by_our_names_only_and_framed_by_nobody(redis_url, tmp_path):
    with flower(redis_url, tmp_path, FLOWER_HOSTS="flower.example.com, other.example") as (_, client):
        for host in ("127.0.0.1:5555", "localhost", "[::1]:5555", "10.1.2.3", "flower.example.com", "OTHER.example."):
            assert client.get("/healthcheck", headers={"Host": host}).status_code == 200, host
        for host in (
            "attacker.example",
            "attacker.example:5555",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
        ):
            for path in ("/healthcheck", "/", "/metrics", "/static/css/flower.css"):
                answer = client.get(path, headers={"Host": host})
                assert answer.status_code == 421, (host, path)
                assert answer.headers["X-Frame-Options"] == "DENY"
        for path in ("/healthcheck", "/", "/tasks", "/nowhere", "/static/css/flower.css"):
            headers = client.get(path).headers
            assert headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("redis")
def test_flower_controls_where_it_is_allowed_to(redis_url, tmp_path):
    with flower(redis_url, tmp_path, FLOWER_CONTROL="true") as (_, client):
        assert client.post("/api/task/revoke/some-name").status_code == 200

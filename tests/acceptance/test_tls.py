"""The whole product over TLS: every port, and every command of ours that speaks to it."""

import json
import socket
import ssl
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path):
    """A certificate that names no address of this machine, as most do, with the chain behind it."""
    issued = authority.issue_cert("events.example.com", "*.games.example.com")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in (*issued.cert_chain_pems, authority.cert_pem):
        part.write_to_path(tmp_path / "cert.pem", append=True)
    return {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}


def version_spoken(address: tuple[str, int], context: ssl.SSLContext) -> str | None:
    with (
        socket.create_connection(address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="events.example.com") as secured,
    ):
        return secured.version()


@pytest.mark.timeout(300)
def test_every_port_speaks_tls_and_our_own_commands_do_so_unasked(up, ports, certificate, authority):
    run = up(**certificate)
    run.ready()  # which asks /readyz by TLS
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    for port in ports.values():
        address = ("127.0.0.1", port)
        if port != ports["GRPC_PORT"]:  # whose library wants HTTP/2 to be named
            assert version_spoken(address, trust) == "TLSv1.3"
        outdated = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(outdated)
        outdated.maximum_version = ssl.TLSVersion.TLSv1_2
        outdated.set_alpn_protocols(["h2"])
        assert version_spoken(address, outdated) == "TLSv1.2"
    with pytest.raises(URLError, match="certificate verify failed"):
        urlopen(f"https://127.0.0.1:{ports['HTTP_PORT']}/healthz", timeout=10, context=ssl.create_default_context())

    roots = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    named = (("grpc.ssl_target_name_override", "eu.games.example.com"),)
    with grpc.secure_channel(f"127.0.0.1:{ports['GRPC_PORT']}", roots, named) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    found = json.loads(run.run("urls", "--json").stdout)
    assert [found[name].partition("://")[0] for name in ("http", "metrics", "flower")] == ["https"] * 3
    assert f"curl -sS --cacert {certificate['TLS_CERT']} https://" in run.said()
    for verb in (
        ("events", "trigger", "login", "--user", "ada"),
        ("events", "trigger", "login", "--user", "ada", "--grpc"),
        ("progress", "ada"),
        ("load-test", "--events", "300", "--users", "20"),
        ("load-test", "--events", "100", "--users", "20", "--grpc"),
    ):
        ended = run.run(*verb, seconds=120)
        assert ended.returncode == 0, (verb, ended.stdout, ended.stderr)


@pytest.mark.parametrize("missing", ["TLS_KEY", "TLS_CERT"])
def test_half_a_certificate_is_refused_in_one_line_before_anything_starts(up, certificate, missing):
    run = up(**{name: path for name, path in certificate.items() if name != missing})
    assert run.process.wait(60) == 2
    assert run.said() == f"questline: {missing}: not set; TLS needs both TLS_CERT and TLS_KEY\n"

"""TLS_CERT and TLS_KEY: what is wrong with them is said in one line that names the setting."""

import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from api.health.readiness import ReadinessProbe
from api.health.routes import health_router
from config.settings import Settings
from models.errors import ConfigurationError
from tests.support.http_server import serving
from web.application import make_application
from web.server.tls import certificate_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    for name in ("ours", "other"):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    key = load_pem_private_key((folder / "ours.key").read_bytes(), None)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "encrypted.key").write_bytes(secret)
    (folder / "empty").touch()
    (folder / "folder").mkdir()
    return folder


def test_a_certificate_and_its_key_are_taken(files):
    certificate = certificate_of(Settings(tls_cert=files / "ours.pem", tls_key=files / "ours.key"))
    assert certificate is not None
    assert certificate.context()
    assert certificate.pem() == ((files / "ours.key").read_bytes(), (files / "ours.pem").read_bytes())


def test_without_both_settings_there_is_no_tls():
    assert certificate_of(Settings()) is None


@pytest.mark.parametrize(
    ("cert", "key", "names"),
    [
        ("ours.pem", None, "TLS_KEY: not set"),
        (None, "ours.key", "TLS_CERT: not set"),
        ("nowhere.pem", "ours.key", "TLS_CERT: "),
        ("ours.pem", "nowhere.key", "TLS_KEY: "),
        ("folder", "ours.key", "TLS_CERT: "),
        ("ours.pem", "other.key", "TLS_KEY: "),
        ("ours.pem", "encrypted.key", "TLS_KEY: the key is encrypted"),
        ("empty", "ours.key", "TLS_CERT, TLS_KEY: "),
        ("ours.pem", "empty", "TLS_CERT, TLS_KEY: "),
        ("ours.key", "ours.pem", "TLS_CERT, TLS_KEY: "),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(files, cert, key, names):
    settings = Settings(tls_cert=cert and files / cert, tls_key=key and files / key)
    with pytest.raises(ConfigurationError) as caught:
        certificate_of(settings)
    assert str(caught.value).startswith(names)
    assert "\n" not in str(caught.value)


def test_the_health_check_of_the_containers_speaks_tls_where_the_receiver_does(files):
    certificate = certificate_of(Settings(tls_cert=files / "ours.pem", tls_key=files / "ours.key"))
    assert certificate is not None
    app = make_application([health_router(ReadinessProbe({}, {}))])
    with serving(app, tls=certificate.context()) as server:
        told = {"PYTHONPATH": str(ROOT), "HTTP_PORT": str(server.address[1])}
        for cert, code in ((str(files / "ours.pem"), 0), ("", 1)):  # an empty value speaks plain text
            asked = subprocess.run(
                [sys.executable, ROOT / "deploy/healthcheck.py", "receiver"],
                env=told | {"TLS_CERT": cert, "TLS_KEY": ""}, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert asked.returncode == code, asked.stderr

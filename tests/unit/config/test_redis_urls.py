"""URLs of Redis servers and of Sentinels."""

from pathlib import Path

import pytest

from config.redis_urls import (
    celery_address,
    check_redis_url,
    public_address,
    read_sentinels,
    with_ca_file,
    without_login,
)
from config.settings import Settings

PAIR = "sentinels://me:p%40ss@one:1,[::1]:2,three/my%2Fservice/7?sentinel_password=q%26&ssl_cert_reqs=required"


def test_a_url_of_sentinels_is_read_in_its_parts():
    found = read_sentinels(check_redis_url(PAIR))
    assert found is not None
    assert found.hosts == (("one", 1), ("::1", 2), ("three", 26379))
    assert (found.service, found.username, found.password) == ("my/service", None, "q&")
    assert found.server_url == "rediss://me:p%40ss@service/7?ssl_cert_reqs=required"
    assert read_sentinels("redis://:p@h:1/0") is None


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sentinel://:secret@h:1", "names no service"),
        ("sentinel://:secret@h:1/", "names no service"),
        ("sentinel://:secret@h:1/service/x", "names no service"),
        ("sentinel://:secret@h:1,/service", "names no server"),
        ("sentinel://:secret@h:1,h:99999/service", "is no URL"),
        ("redis://:secret@a:1,b:2/0", "names no server"),
        ("redis://:secret@a:1/0?sentinel_password=x", "option that is not known"),
        ("redis://:secret@a:1/0?decode_responses=true", "option that is not known"),
        ("redis+cluster://:secret@a:1/0", "no URL of a Redis"),
    ],
)
def test_what_names_no_redis_is_refused_without_its_password(url, text):
    with pytest.raises(ValueError, match=text) as caught:
        check_redis_url(url)
    assert "secret" not in str(caught.value)


def test_a_ca_file_is_added_where_tls_is_spoken_and_none_is_named():
    file = Path("/etc/my ca.pem")
    assert with_ca_file("rediss://h/0", file) == "rediss://h/0?ssl_ca_certs=/etc/my%20ca.pem"
    assert with_ca_file("sentinels://h/s/0?ssl_ca_certs=own.pem", file) == "sentinels://h/s/0?ssl_ca_certs=own.pem"
    assert with_ca_file("redis://h/0", file) == "redis://h/0"
    assert with_ca_file("rediss://h/0", None) == "rediss://h/0"


def test_the_ca_file_serves_broker_and_state(monkeypatch):
    for name, value in {"BROKER_URL": "rediss://b/0", "STATE_URL": "rediss://s/0", "REDIS_CA_FILE": "/ca.pem"}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.broker == "rediss://b/0?ssl_ca_certs=/ca.pem"
    assert settings.state == "rediss://s/0?ssl_ca_certs=/ca.pem"


def test_what_is_shown_of_a_url_holds_no_password():
    assert public_address(PAIR) == "sentinels://me@one:1,[::1]:2,three/my%2Fservice/7"
    assert public_address("redis://:secret@h:1/0?ssl_password=x") == "redis://h:1/0"
    assert without_login("redis://me:secret@h:1/0?db=2") == "redis://h:1/0?db=2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (PAIR, "redis://me@one:1/7"),
        ("rediss://:secret@h/0?ssl_ca_certs=x", "redis://h/0"),
        ("redis://[::1]:6379/3", "redis://[::1]:6379/3"),
        ("sentinel://:secret@h/service", "redis://h/0"),
        ("unix:///var/run/redis.sock?db=2", "redis://localhost/0"),
    ],
)
def test_celery_is_shown_an_address_that_it_can_read(url, shown):
    assert celery_address(url) == shown

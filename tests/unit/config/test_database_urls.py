"""DATABASE_URL and DB_*: one PostgreSQL, named in one place, and its password never shown."""

import re

import psycopg2.extensions
import pytest
from pydantic import ValidationError

from cli import main
from config.settings import Settings


@pytest.fixture
def told(monkeypatch):
    """Settings of an environment."""

    def of(**names):
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return of


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://u:p%40@h:6000/n", ("h", 6000, "n", "u", "p@")),
        ("postgres://u@h/n?sslmode=require", ("h", 5432, "n", "u", "postgres")),
        ("postgresql://u:p@[::1]:6000/n%2Fame", ("::1", 6000, "n/ame", "u", "p")),
        ("postgresql://u:p@h1:6000,h2/n?target_session_attrs=read-write", ("h1,h2", 6000, "n", "u", "p")),
        ("postgresql:///n?host=/run/postgresql&user=u", ("/run/postgresql", 5432, "n", "u", "postgres")),
    ],
)
def test_a_url_says_all_that_the_single_settings_say(told, url, parts):
    settings = told(DATABASE_URL=url)
    found = (settings.db_host, settings.db_port, settings.db_name, settings.db_user, settings.db_password)
    assert found == parts
    assert settings.database_url == url
    assert psycopg2.extensions.parse_dsn(url)["dbname"] == parts[2]


def test_tls_is_a_part_of_the_url_that_everything_connects_by(told):
    settings = told(DB_HOST="db", DB_SSLMODE="require")
    assert settings.database_url == "postgresql://postgres:postgres@db:5432/challenge_db?sslmode=require"
    settings = told(DB_SSLMODE="", DB_SSLROOTCERT="/etc/c a.pem")
    assert settings.database_url.endswith("?sslmode=verify-full&sslrootcert=/etc/c%20a.pem")
    assert psycopg2.extensions.parse_dsn(settings.database_url)["sslrootcert"] == "/etc/c a.pem"


def test_tls_by_settings_goes_with_a_url(told):
    settings = told(DATABASE_URL="postgresql://u:p@h/n?connect_timeout=3", DB_SSLMODE="verify-ca")
    assert settings.database_url == "postgresql://u:p@h/n?connect_timeout=3&sslmode=verify-ca"


def test_the_same_said_twice_is_no_contradiction(told):
    settings = told(DATABASE_URL="postgresql://u:p@h/n?sslmode=require", DB_HOST="h", DB_SSLMODE="require")
    assert settings.database_url == "postgresql://u:p@h/n?sslmode=require"


@pytest.mark.parametrize(
    ("name", "value"),
    [("DB_HOST", "other"), ("DB_PORT", "6000"), ("DB_USER", "x"), ("DB_PASSWORD", "hidden"), ("DB_SSLMODE", "allow")],
)
def test_a_contradiction_is_one_line_that_names_both(told, name, value, monkeypatch, capsys):
    with pytest.raises(ValidationError) as caught:
        told(**{"DATABASE_URL": "postgresql://u:secret@h/n?sslmode=require", name: value})
    assert not re.search("secret|hidden", str(caught.value))
    monkeypatch.setattr("sys.argv", ["questline", "urls"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said == f"questline: DATABASE_URL: contradicts {name}: set one of them, or both to the same\n"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sec@ret@h/n",
        "postgresql://u:sec/ret@h/n",
        "postgresql://u:sec#ret@h/n",
        "postgresql://u:sec ret@h/n",
        "postgresql://u:sec%ret@h/n",
        "postgresql://u:secret@h:port/n",
        "postgresql://u:secret@h:99999/n",
        "postgresql://u:secret@h:1,h2:x/n",
        "postgresql://u:secret@/n",
        "postgresql://u:secret@h",
        "postgresql://u:secret@h/n?sslmode=secret",
        "postgresql+psycopg2://u:secret@h/n",
        "mysql://u:secret@h/n",
    ],
)
def test_a_url_that_is_none_is_refused_and_never_shown(told, url, monkeypatch, capsys):
    with pytest.raises(ValidationError) as caught:
        told(DATABASE_URL=url)
    assert not re.search("sec.?ret", str(caught.value))
    monkeypatch.setattr("sys.argv", ["questline", "urls"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("questline: DATABASE_URL: ")
    assert not re.search("sec.?ret", said)

"""Which server is chosen for which data."""

from pathlib import Path

import pytest

from models.errors import ServiceFailedError
from tools.local.discovery import (
    Server,
    choose_postgres,
    choose_redis,
    find_postgres_servers,
    find_redis_servers,
    identify,
)

REDIS_7 = Server("redis", (7, 0, 15), Path("/a/redis-server"))
VALKEY_8 = Server("valkey", (8, 1, 0), Path("/b/valkey-server"))
VALKEY_9 = Server("valkey", (9, 1, 2), Path("/c/valkey-server"), from_wheel=True)
POSTGRES_15 = Server("postgres", (15, 18), Path("/d/postgres"))
POSTGRES_18 = Server("postgres", (18, 6), Path("/e/postgres"), from_wheel=True)


def _program(folder: Path, reply: str) -> Path:
    path = folder / "server"
    path.write_text(f"#!/bin/sh\necho '{reply}'\n")
    path.chmod(0o755)
    return path


def test_new_redis_data_takes_the_preferred_server():
    assert choose_redis([REDIS_7, VALKEY_9], None) is REDIS_7


def test_redis_data_stays_with_the_kind_that_wrote_it():
    assert choose_redis([REDIS_7, VALKEY_9], ("valkey", 9)) is VALKEY_9


def test_redis_data_may_go_to_a_newer_major_but_not_back():
    assert choose_redis([VALKEY_8, VALKEY_9], ("valkey", 9)) is VALKEY_9
    assert choose_redis([VALKEY_9], ("valkey", 8)) is VALKEY_9
    with pytest.raises(ServiceFailedError, match="written by valkey 9"):
        choose_redis([REDIS_7, VALKEY_8], ("valkey", 9))


def test_postgres_data_opens_with_its_own_major_only():
    assert choose_postgres([POSTGRES_15, POSTGRES_18], 18) == [POSTGRES_18]
    with pytest.raises(ServiceFailedError, match="made by PostgreSQL 17"):
        choose_postgres([POSTGRES_15, POSTGRES_18], 17)


def test_no_server_at_all_names_the_way_out():
    with pytest.raises(ServiceFailedError, match=r"questline\[embedded\].*BROKER_URL"):
        choose_redis([], None)
    with pytest.raises(ServiceFailedError, match=r"questline\[embedded\].*DB_HOST"):
        choose_postgres([], None)


@pytest.mark.parametrize(
    ("reply", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", (7, 0, 15)),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", (9, 1, 2)),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
        ("postgres (PostgreSQL) 19beta2", (19,)),
    ],
)
def test_a_server_is_known_by_what_it_says_of_itself(tmp_path, reply, version):
    server = identify(_program(tmp_path, reply))
    assert server is not None
    assert server.version == version


@pytest.mark.parametrize("reply", ["Redis server v=6.2.14 sha=0", "postgres (PostgreSQL) 13.9", "something else 9.9"])
def test_a_server_too_old_or_unknown_is_passed_over(tmp_path, reply):
    assert identify(_program(tmp_path, reply)) is None


def test_a_path_that_does_not_run_is_passed_over(tmp_path):
    assert identify(tmp_path / "missing") is None


def test_this_machine_has_servers_and_links_to_them_are_resolved(tmp_path, monkeypatch):
    found = find_postgres_servers()
    assert found
    assert find_redis_servers()
    (tmp_path / "postgres").symlink_to(found[0].binary)
    monkeypatch.setenv("PATH", str(tmp_path))
    linked = find_postgres_servers()[0]
    assert linked.binary == found[0].binary
    assert linked.binary.with_name("initdb").is_file()

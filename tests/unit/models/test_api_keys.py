"""API keys: what they look like, who is let in by one, and where an installation without any may listen."""

import re
from dataclasses import dataclass
from typing import Any

import pytest

from config.loopback import is_loopback
from config.settings import Settings
from ingest.http import claim
from models.access import api_keys
from models.access.api_keys import ApiKey, KeyStore, draw_key, hash_secret
from models.access.callers import ALL_TENANTS, ANYBODY, Caller
from models.errors import AccessDeniedError, ConfigurationError, RateLimitedError, UnauthenticatedError
from web.authentication.authenticator import RateLimits, require_keys
from web.authentication.middleware import shown_in_metadata

NOW = 1_762_770_600_000_000


def key_store_of(**changes):
    made = draw_key()
    key = ApiKey(made.key_id, "t1", "ingest", made.secret_hash)._replace(**changes)
    return KeyStore([key]), made.text


def refusal(key_store, shown, now=NOW):
    with pytest.raises(UnauthenticatedError) as caught:
        key_store.check(shown, now)
    return str(caught.value)


def test_a_key_holds_its_id_and_256_random_bits_of_which_only_the_hash_is_kept():
    first, second = draw_key(), draw_key()
    assert re.fullmatch(rf"ql_{first.key_id}_[A-Za-z0-9_-]{{43}}", first.text)
    assert first.text != second.text
    secret = first.text.split("_", 2)[2]
    assert first.secret_hash == hash_secret(secret)
    assert secret.encode() not in first.secret_hash


def test_the_right_key_is_taken_and_no_other():
    key_store, shown = key_store_of()
    assert key_store.check(shown, NOW).caller == Caller(key_store.keys[0].key_id, "t1", "ingest")
    for wrong in (
        "",
        "x",
        "ql",
        "ql_",
        f"ql_{key_store.keys[0].key_id}",
        shown[:-1],
        shown + "x",
        shown.upper(),
        "é" * 300,
    ):
        assert refusal(key_store, wrong) == "the API key is not valid"


def test_an_unknown_id_takes_the_same_steps_as_a_wrong_secret(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(api_keys, "compare_digest", compare)
    key_store, shown = key_store_of()
    key_store.check(shown, NOW)
    refusal(key_store, f"{shown[:-1]}?")
    refusal(key_store, "ql_0123456789ab_secret")
    refusal(key_store, "no key at all")
    assert compared == [(32, 32)] * 4


def test_a_key_ends_at_its_expiry_and_as_soon_as_it_is_revoked():
    key_store, shown = key_store_of(expires_at=NOW)
    assert key_store.check(shown, NOW - 1)
    assert "has expired" in refusal(key_store, shown)
    key_store, shown = key_store_of(revoked_at=NOW)
    assert "is revoked" in refusal(key_store, shown, NOW - 1)  # at once, also where the receiver's clock is behind
    # Nobody without the secret learns that the key existed.
    assert refusal(key_store, f"{shown[:-1]}?") == "the API key is not valid"


def test_a_key_store_survives_packing_and_an_empty_one_is_empty():
    key_store, _ = key_store_of(rate_limit=5, expires_at=NOW)
    assert KeyStore.unpack(key_store.pack()).keys == key_store.keys
    assert KeyStore.unpack(KeyStore().pack()).is_empty
    assert not key_store.is_empty


@pytest.mark.parametrize(
    ("scope", "may"),
    [("ingest", {"ingest"}), ("read", {"read"}), ("admin", {"ingest", "read", "admin"})],
)
def test_scopes_allow_what_they_say_in_their_tenant(scope, may):
    caller = Caller("k", "t1", scope)
    assert {wanted for wanted in ("ingest", "read", "admin") if caller.may(wanted, "t1")} == may
    assert not any(caller.may(wanted, "t2") for wanted in ("ingest", "read", "admin"))
    assert not any(caller.may(wanted, ALL_TENANTS) for wanted in ("ingest", "read", "admin"))


def test_an_operator_of_all_tenants_may_do_its_scope_in_each():
    caller = Caller("k", ALL_TENANTS, "read")
    assert caller.may("read", "t1")
    assert not caller.may("ingest", "t1")
    assert (caller.own_tenant, Caller("k", "t1", "read").own_tenant) == ("default", "t1")


def test_events_belong_to_the_callers_tenant_and_one_of_another_refuses_them_all():
    caller = Caller("k", "t1", "ingest")
    events = [{"event_id": "a"}, {"event_id": "b", "tenant_id": "t1"}, 5, {"tenant_id": 7}]
    claim(events, caller)
    assert events == [{"event_id": "a", "tenant_id": "t1"}, {"event_id": "b", "tenant_id": "t1"}, 5, {"tenant_id": 7}]
    with pytest.raises(AccessDeniedError) as caught:
        claim([{"event_id": "a"}, {"tenant_id": "x" * 5000}], caller)
    assert len(str(caught.value)) < 200
    untouched = [{"event_id": "a"}]
    claim(untouched, ANYBODY)
    assert untouched == [{"event_id": "a"}]


def test_the_key_of_a_call_is_found_in_either_header():
    assert shown_in_metadata((("user-agent", "x"), ("authorization", "bearer  k1 "), ("x-api-key", "k2"))) == "k1"
    assert shown_in_metadata((("authorization", "Basic abc"), ("x-api-key", "k2"))) == "k2"
    assert shown_in_metadata((("authorization", "Basic abc"),)) is None
    assert shown_in_metadata(None) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False), ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_only_loopback_may_be_listened_at_without_keys(host, loopback):
    assert is_loopback(host) == loopback
    settings = Settings(http_host=host)
    require_keys(settings, key_store_of()[0])
    if loopback:
        require_keys(settings, KeyStore())
        return
    with pytest.raises(ConfigurationError) as caught:
        require_keys(settings, KeyStore())
    assert "questline keys create" in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass
class Seconds:
    """The clock that the library of limits reads."""

    now: float

    def time(self) -> float:
        return self.now


def test_a_key_may_make_so_many_requests_a_second_and_others_are_not_its_business(monkeypatch):
    clock = Seconds(1000.0)
    monkeypatch.setattr("limits.storage.memory.time", clock)
    monkeypatch.setattr("web.authentication.authenticator.time", clock.time)
    limits = RateLimits(3)
    key, own, free = (ApiKey(name, "t1", "ingest", b"", rate) for name, rate in (("a", None), ("b", 1), ("c", None)))
    for _ in range(3):
        limits.spend(key)
    with pytest.raises(RateLimitedError) as caught:
        limits.spend(key)
    assert caught.value.retry_after >= 1
    limits.spend(own)
    with pytest.raises(RateLimitedError):
        limits.spend(own)  # its own limit goes before the installation's
    limits.spend(free)
    clock.now += caught.value.retry_after
    limits.spend(key)


def test_without_a_limit_nothing_is_refused():
    limits = RateLimits(None)
    for _ in range(1000):
        limits.spend(ApiKey("a", "t1", "ingest", b""))


def test_the_memory_of_limits_is_a_few_counters_a_key(monkeypatch):
    clock = Seconds(1000.0)
    monkeypatch.setattr("limits.storage.memory.time", clock)
    limits = RateLimits(1_000_000)
    for _ in range(2000):
        limits.spend(ApiKey("a", "t1", "ingest", b""))
    storage: Any = limits._limiter.storage
    assert 1 <= len(storage.storage) <= 2
    assert storage.events == {}

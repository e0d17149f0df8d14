"""One tenant floods the product with all it has; another one sends a little, and is to notice nothing of it."""

import json
import time
from threading import Thread
from uuid import uuid4

import httpx

from tests.conftest import long_only
from tests.support.servers import wait_until

SECONDS = 5
PATIENCE = 10.0
MOST = 3.0
"""Seconds until an event is readable. Without turns it was over eight; the figures of a quiet machine are in
benchmarks/README.md."""
FLOODS = {"payloads": (64, {"payload": {"d": "x" * 15_500}}), "users": (1_000, {})}


def key_of(run, tenant):
    said = run.run("keys", "create", "--tenant", tenant, "--scope", "admin", "--json").stdout
    return str(json.loads(said)["key"])


def client_of(run, key):
    address = f"http://127.0.0.1:{run.environment['HTTP_PORT']}"
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def flood(run, key, number, more, end):
    with client_of(run, key) as client:
        while time.monotonic() < end:
            name = uuid4().hex
            events = [
                {"event_id": f"{name}-{n}", "event_type": "login", "user_id": f"{name}-{n}", **more}
                for n in range(number)
            ]
            if client.post("/v1/events", json=events).status_code != 202:
                time.sleep(0.05)


def probe(client):
    """Seconds until an event was readable; None where it was refused."""
    user, begun = uuid4().hex, time.monotonic()
    event = {"event_id": user, "event_type": "login", "user_id": user}
    if client.post("/v1/events", json=event).status_code != 202:
        return None
    while time.monotonic() < begun + PATIENCE:
        if any(goal["progress"] for goal in client.get(f"/v1/users/{user}/progress").json()["goals"]):
            break
        time.sleep(0.02)
    return time.monotonic() - begun


def waits_beside(run, client, loud, kind):
    """Seconds until each event of the quiet tenant was readable, while the loud one floods."""
    end = time.monotonic() + SECONDS
    floods = [Thread(target=flood, args=(run, loud, *FLOODS[kind], end)) for _ in range(6)]
    for one in floods:
        one.start()
    time.sleep(1)  # the flood is to have filled what it can
    waits = []
    while time.monotonic() < end:
        waits.append(probe(client))
    for one in floods:
        one.join()
    return waits


@long_only
def test_a_flood_of_one_tenant_neither_refuses_nor_delays_another(up):
    run = up()
    run.ready()
    loud, quiet = key_of(run, "loud"), key_of(run, "quiet")
    with client_of(run, quiet) as client:
        wait_until(lambda: client.get("/v1/users/nobody/progress").status_code == 200)
        for kind in FLOODS:
            wait_until(lambda: (probe(client) or PATIENCE) < MOST, seconds=60)
            waits = waits_beside(run, client, loud, kind)
            assert None not in waits, (kind, waits)
            assert sorted(waits)[len(waits) * 9 // 10] < MOST, (kind, waits)
    run.end()

"""What every answer has, whatever the route: problems, headers for browsers, the page of the description."""

import re

import pytest

from ingest.accelbyte import LOGIN_TOPIC
from tests.support.receiver import GOOD, PROBLEM
from web.authentication.middleware import FREE_PATHS

pytestmark = pytest.mark.anyio


async def test_query_parameters_that_a_route_does_not_take_are_named(receiver):
    answer = await receiver.client.post("/v1/events?tenant=acme", json=GOOD)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "query.tenant: is no parameter: this route takes none"
    assert not receiver.journaled()
    answer = await receiver.client.post(f"/v1/ags/game.{LOGIN_TOPIC}?debug", json=GOOD)
    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/v1/%ff/x", "/v1/events?tenant_id=%ff", "/v1/ags/%c3%28"])
async def test_an_address_that_is_no_text_is_a_bad_request(receiver, path):
    answer = await receiver.client.post(path, json=GOOD)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/events", 405),
        ("POST", "/v1/events", 400),
        ("GET", "/v1/%ff", 400),
        ("GET", "/docs", 200),
        ("GET", "/docs/assets/swagger-ui.css", 200),
        ("GET", "/broken", 500),
    ],
)
async def test_every_answer_tells_browsers_what_they_may_not_do(receiver, method, path, status):
    answer = await receiver.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert ("no-store" in answer.headers["Cache-Control"]) is not path.startswith("/docs/assets")


async def test_the_page_of_the_description_loads_nothing_from_elsewhere(receiver):
    client = receiver.client
    page = await client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    assert "<script>" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for path in loaded:
        assert path.startswith("/docs/assets/")
        assert path in FREE_PATHS
        asset = await client.get(path)
        assert asset.status_code == 200
        assert len(asset.content) > 200
    assert (await client.get("/docs/assets/nothing.js")).status_code == 404
    assert (await client.get("/redoc")).headers["location"] == "/docs"
